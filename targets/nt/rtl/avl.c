// AVL tables (RTL_AVL_TABLE): BalancedRoot.RightChild is the root, an element follows its links.
// Balance is -1, 0 or 1: the side that is one level deeper.
#include "rtl.h"

typedef RTL_BALANCED_LINKS LINKS;

static PVOID AvlElement(LINKS *Links)
{
    return Links + 1;
}

VOID RtlInitializeGenericTableAvl(RTL_AVL_TABLE *Table, RTL_AVL_COMPARE_ROUTINE *Compare,
                                  RTL_AVL_ALLOCATE_ROUTINE *Allocate, RTL_AVL_FREE_ROUTINE *Free,
                                  PVOID Context)
{
    memset(Table, 0, sizeof(*Table));
    Table->BalancedRoot.Parent = &Table->BalancedRoot;
    Table->CompareRoutine = Compare;
    Table->AllocateRoutine = Allocate;
    Table->FreeRoutine = Free;
    Table->TableContext = Context;
}

// Finds the element, or the links it would hang below.
static RTL_GENERIC_COMPARE_RESULTS AvlSearch(RTL_AVL_TABLE *Table, PVOID Element, LINKS **Found)
{
    RTL_AVL_COMPARE_ROUTINE *Compare = (RTL_AVL_COMPARE_ROUTINE *)Table->CompareRoutine;
    RTL_GENERIC_COMPARE_RESULTS Result = GenericGreaterThan;
    LINKS *Next = Table->BalancedRoot.RightChild;

    *Found = &Table->BalancedRoot;
    while (Next != NULL) {
        *Found = Next;
        Result = Compare(Table, Element, AvlElement(Next));
        if (Result == GenericEqual)
            break;
        Next = Result == GenericLessThan ? Next->LeftChild : Next->RightChild;
    }
    return Result;
}

static VOID AvlReplaceChild(LINKS *Parent, LINKS *Old, LINKS *New)
{
    if (Parent->LeftChild == Old)
        Parent->LeftChild = New;
    else
        Parent->RightChild = New;
    if (New != NULL)
        New->Parent = Parent;
}

// Moves Links up above its parent.
static VOID AvlPromote(LINKS *Links)
{
    LINKS *Parent = Links->Parent;
    BOOLEAN Left = Parent->LeftChild == Links;
    LINKS *Inner = Left ? Links->RightChild : Links->LeftChild;

    AvlReplaceChild(Parent->Parent, Parent, Links);
    AvlReplaceChild(Parent, Links, Inner);
    if (Left)
        Links->RightChild = Parent;
    else
        Links->LeftChild = Parent;
    Parent->Parent = Links;
}

// Top leans two levels to the side Lean. TRUE when the result is one level lower than before.
static BOOLEAN AvlRebalance(LINKS *Top, CHAR Lean)
{
    LINKS *Child = Lean < 0 ? Top->LeftChild : Top->RightChild;
    LINKS *Inner = Lean < 0 ? Child->RightChild : Child->LeftChild;

    if (Child->Balance == 0) {
        AvlPromote(Child);
        Top->Balance = Lean;
        Child->Balance = -Lean;
        return FALSE;
    }
    if (Child->Balance == Lean) {
        AvlPromote(Child);
        Top->Balance = Child->Balance = 0;
        return TRUE;
    }
    AvlPromote(Inner);
    AvlPromote(Inner);
    Top->Balance = Inner->Balance == Lean ? -Lean : 0;
    Child->Balance = Inner->Balance == -Lean ? Lean : 0;
    Inner->Balance = 0;
    return TRUE;
}

PVOID RtlInsertElementGenericTableAvl(RTL_AVL_TABLE *Table, PVOID Element, ULONG Size, BOOLEAN *New)
{
    RTL_AVL_ALLOCATE_ROUTINE *Allocate = (RTL_AVL_ALLOCATE_ROUTINE *)Table->AllocateRoutine;
    LINKS *Parent, *Links;
    RTL_GENERIC_COMPARE_RESULTS Result = AvlSearch(Table, Element, &Parent);

    if (New != NULL)
        *New = FALSE;
    if (Result == GenericEqual)
        return AvlElement(Parent);
    Links = Allocate(Table, sizeof(LINKS) + Size);
    if (Links == NULL)
        return NULL;
    memset(Links, 0, sizeof(*Links));
    Links->Parent = Parent;
    if (Result == GenericLessThan)
        Parent->LeftChild = Links;
    else
        Parent->RightChild = Links;
    memcpy(AvlElement(Links), Element, Size);
    Table->NumberGenericTableElements++;
    if (New != NULL)
        *New = TRUE;

    for (LINKS *Child = Links; Parent != &Table->BalancedRoot;
         Child = Parent, Parent = Parent->Parent) {
        CHAR Lean = Parent->LeftChild == Child ? -1 : 1;
        if (Parent->Balance == Lean) {
            AvlRebalance(Parent, Lean);
            break;
        }
        Parent->Balance += Lean;
        if (Parent->Balance == 0)
            break;
        if (Parent->Parent == &Table->BalancedRoot)
            Table->DepthOfTree++;
    }
    if (Table->DepthOfTree == 0)
        Table->DepthOfTree = 1;
    return AvlElement(Links);
}

PVOID RtlLookupElementGenericTableAvl(RTL_AVL_TABLE *Table, PVOID Element)
{
    LINKS *Links;

    return AvlSearch(Table, Element, &Links) == GenericEqual ? AvlElement(Links) : NULL;
}

// The tree below Child, or where Child was, lost a level.
static VOID AvlShrunk(RTL_AVL_TABLE *Table, LINKS *Parent, BOOLEAN Left)
{
    while (Parent != &Table->BalancedRoot) {
        CHAR Lean = Left ? 1 : -1;
        LINKS *Next = Parent->Parent;
        BOOLEAN NextLeft = Next->LeftChild == Parent;

        if (Parent->Balance == 0) {
            Parent->Balance = Lean;
            return;
        }
        if (Parent->Balance == -Lean)
            Parent->Balance = 0;
        else if (!AvlRebalance(Parent, Lean))
            return;
        Parent = Next;
        Left = NextLeft;
    }
    Table->DepthOfTree--;
}

BOOLEAN RtlDeleteElementGenericTableAvl(RTL_AVL_TABLE *Table, PVOID Element)
{
    RTL_AVL_FREE_ROUTINE *Free = (RTL_AVL_FREE_ROUTINE *)Table->FreeRoutine;
    LINKS *Links, *Out, *Parent;
    BOOLEAN Left;

    if (AvlSearch(Table, Element, &Links) != GenericEqual)
        return FALSE;
    // The node that leaves its place has at most one child: Links itself or its successor.
    Out = Links;
    if (Links->LeftChild != NULL && Links->RightChild != NULL)
        for (Out = Links->RightChild; Out->LeftChild != NULL; Out = Out->LeftChild)
            ;
    Parent = Out->Parent;
    Left = Parent->LeftChild == Out;
    AvlReplaceChild(Parent, Out, Out->LeftChild != NULL ? Out->LeftChild : Out->RightChild);
    AvlShrunk(Table, Parent, Left);
    if (Out != Links) {
        AvlReplaceChild(Links->Parent, Links, Out);
        Out->Balance = Links->Balance;
        Out->LeftChild = Out->RightChild = NULL;
        if (Links->LeftChild != NULL)
            Links->LeftChild->Parent = Out;
        if (Links->RightChild != NULL)
            Links->RightChild->Parent = Out;
        Out->LeftChild = Links->LeftChild;
        Out->RightChild = Links->RightChild;
    }
    Table->NumberGenericTableElements--;
    Free(Table, Links);
    return TRUE;
}
