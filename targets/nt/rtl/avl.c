// AVL tables (RTL_AVL_TABLE): BalancedRoot.RightChild is the root, an element follows its links.
// Elements stay until the table goes away, which is all the kernel asks of these tables.
#include "rtl/rtl.h"

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

// Moves Links up above its parent.
static VOID AvlPromote(LINKS *Links)
{
    LINKS *Parent = Links->Parent, *Grand = Parent->Parent;
    BOOLEAN Left = Parent->LeftChild == Links;
    LINKS *Inner = Left ? Links->RightChild : Links->LeftChild;

    if (Grand->LeftChild == Parent)
        Grand->LeftChild = Links;
    else
        Grand->RightChild = Links;
    Links->Parent = Grand;
    if (Left) {
        Parent->LeftChild = Inner;
        Links->RightChild = Parent;
    } else {
        Parent->RightChild = Inner;
        Links->LeftChild = Parent;
    }
    Parent->Parent = Links;
    if (Inner != NULL)
        Inner->Parent = Parent;
}

// Top leans two levels to the side Lean (-1 left, 1 right).
static VOID AvlRebalance(LINKS *Top, CHAR Lean)
{
    LINKS *Child = Lean < 0 ? Top->LeftChild : Top->RightChild;

    if (Child->Balance == Lean) {
        AvlPromote(Child);
        Top->Balance = Child->Balance = 0;
        return;
    }
    LINKS *Inner = Lean < 0 ? Child->RightChild : Child->LeftChild;
    AvlPromote(Inner);
    AvlPromote(Inner);
    Top->Balance = Inner->Balance == Lean ? -Lean : 0;
    Child->Balance = Inner->Balance == -Lean ? Lean : 0;
    Inner->Balance = 0;
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

    for (LINKS *Child = Links; Parent != &Table->BalancedRoot; Child = Parent, Parent = Parent->Parent) {
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
