// Trees of RTL_BALANCED_NODE kept by height (RTL_AVL_TREE). Balance is a node's deeper side: 0
// neither, 1 right, 3 (-1 in two bits) left. The upper bits of ParentValue are the parent.
#include "rtl.h"

typedef RTL_BALANCED_NODE NODE;
#define LEFT_DEEPER 3u
#define RIGHT_DEEPER 1u

static NODE *AvlParent(NODE *Node)
{
    return (NODE *)(Node->ParentValue & ~7ULL);
}

static VOID AvlSetParent(NODE *Node, NODE *Parent)
{
    if (Node)
        Node->ParentValue = (ULONG64)Parent | Node->Balance;
}

static VOID AvlReplaceChild(RTL_AVL_TREE *Tree, NODE *Parent, NODE *Old, NODE *New)
{
    if (Parent == NULL)
        Tree->Root = New;
    else
        Parent->Children[Parent->Right == Old] = New;
    AvlSetParent(New, Parent);
}

// The child on side `Up` takes its parent's place.
static NODE *AvlRotate(RTL_AVL_TREE *Tree, NODE *Node, ULONG Up)
{
    NODE *Child = Node->Children[Up], *Inner = Child->Children[!Up];

    AvlReplaceChild(Tree, AvlParent(Node), Node, Child);
    Node->Children[Up] = Inner;
    AvlSetParent(Inner, Node);
    Child->Children[!Up] = Node;
    AvlSetParent(Node, Child);
    return Child;
}

// Node is two levels deeper on `Side`.
static VOID AvlRebalance(RTL_AVL_TREE *Tree, NODE *Node, ULONG Side)
{
    UCHAR Same = Side ? RIGHT_DEEPER : LEFT_DEEPER, Other = Side ? LEFT_DEEPER : RIGHT_DEEPER;
    NODE *Child = Node->Children[Side], *Inner;

    if (Child->Balance == Same) {
        AvlRotate(Tree, Node, Side);
        Node->Balance = Child->Balance = 0;
        return;
    }
    Inner = AvlRotate(Tree, Child, !Side);
    AvlRotate(Tree, Node, Side);
    Node->Balance = Inner->Balance == Same ? Other : 0;
    Child->Balance = Inner->Balance == Other ? Same : 0;
    Inner->Balance = 0;
}

VOID RtlAvlInsertNodeEx(PRTL_AVL_TREE Tree, PRTL_BALANCED_NODE Parent, BOOLEAN Right,
                        PRTL_BALANCED_NODE Node)
{
    Node->Left = Node->Right = NULL;
    Node->ParentValue = (ULONG64)Parent;
    if (Parent == NULL) {
        Tree->Root = Node;
        return;
    }
    Parent->Children[Right] = Node;
    for (NODE *Up = Parent; Up; Node = Up, Up = AvlParent(Up)) {
        ULONG Side = Up->Right == Node;
        UCHAR Deeper = Side ? RIGHT_DEEPER : LEFT_DEEPER;

        if (Up->Balance == Deeper) {
            AvlRebalance(Tree, Up, Side);
            return;
        }
        if (Up->Balance != 0) {
            Up->Balance = 0;
            return;
        }
        Up->Balance = Deeper;
    }
}
