// Red-black trees over RTL_BALANCED_NODE: bit 0 of ParentValue is the colour (1 red), the rest the
// parent. Tree->Min names the leftmost node.
#include "rtl.h"

typedef RTL_BALANCED_NODE NODE;

FORCEINLINE NODE *RbParent(const NODE *Node)
{
    return (NODE *)(Node->ParentValue & ~3ull);
}

FORCEINLINE VOID RbSetParent(NODE *Node, NODE *Parent)
{
    Node->ParentValue = (ULONG64)Parent | (Node->ParentValue & 3);
}

FORCEINLINE BOOLEAN RbIsRed(const NODE *Node)
{
    return Node != NULL && Node->Red;
}

// Puts New (or nothing) where Old hangs.
FORCEINLINE VOID RbReplaceChild(RTL_RB_TREE *Tree, NODE *Parent, NODE *Old, NODE *New)
{
    if (Parent == NULL)
        Tree->Root = New;
    else
        Parent->Children[Parent->Right == Old] = New;
    if (New != NULL)
        RbSetParent(New, Parent);
}

// Turns the link from Node to its child on the other side: Node moves down to side Side.
static VOID RbRotate(RTL_RB_TREE *Tree, NODE *Node, ULONG Side)
{
    NODE *Up = Node->Children[!Side];

    RbReplaceChild(Tree, RbParent(Node), Node, Up);
    Node->Children[!Side] = Up->Children[Side];
    if (Up->Children[Side] != NULL)
        RbSetParent(Up->Children[Side], Node);
    Up->Children[Side] = Node;
    RbSetParent(Node, Up);
}

NODE *RtlpRbNextNode(NODE *Node)
{
    NODE *Next = Node->Right;

    if (Next != NULL) {
        while (Next->Left != NULL)
            Next = Next->Left;
        return Next;
    }
    for (Next = RbParent(Node); Next != NULL && Next->Right == Node; Next = RbParent(Node))
        Node = Next;
    return Next;
}

VOID RtlRbInsertNodeEx(RTL_RB_TREE *Tree, NODE *Parent, BOOLEAN Right, NODE *Node)
{
    Node->Left = Node->Right = NULL;
    Node->ParentValue = (ULONG64)Parent | 1;
    if (Parent == NULL)
        Tree->Root = Node;
    else
        Parent->Children[Right != 0] = Node;
    if (Tree->Min == NULL || (Tree->Min == Parent && !Right))
        Tree->Min = Node;

    while (RbIsRed(Parent)) {
        NODE *Grand = RbParent(Parent);  // a red node is never the root
        ULONG Side = Grand->Right == Parent;
        NODE *Uncle = Grand->Children[!Side];

        if (RbIsRed(Uncle)) {
            Parent->Red = Uncle->Red = 0;
            Grand->Red = 1;
            Node = Grand;
            Parent = RbParent(Node);
            continue;
        }
        if (Parent->Children[!Side] == Node) {
            RbRotate(Tree, Parent, Side);
            Parent = Node;
        }
        Parent->Red = 0;
        Grand->Red = 1;
        RbRotate(Tree, Grand, !Side);
        break;
    }
    Tree->Root->Red = 0;
}

// The side Side of Parent lacks one black node.
static VOID RbRepair(RTL_RB_TREE *Tree, NODE *Parent, ULONG Side)
{
    while (Parent != NULL) {
        NODE *Node = Parent->Children[Side];
        NODE *Sibling = Parent->Children[!Side];

        if (RbIsRed(Node)) {
            Node->Red = 0;
            return;
        }
        if (RbIsRed(Sibling)) {
            Sibling->Red = 0;
            Parent->Red = 1;
            RbRotate(Tree, Parent, Side);
            Sibling = Parent->Children[!Side];
        }
        if (!RbIsRed(Sibling->Left) && !RbIsRed(Sibling->Right)) {
            Sibling->Red = 1;
            if (Parent->Red) {
                Parent->Red = 0;
                return;
            }
            Node = Parent;
            Parent = RbParent(Node);
            Side = Parent != NULL && Parent->Right == Node;
            continue;
        }
        if (!RbIsRed(Sibling->Children[!Side])) {
            Sibling->Children[Side]->Red = 0;
            Sibling->Red = 1;
            RbRotate(Tree, Sibling, !Side);
            Sibling = Parent->Children[!Side];
        }
        Sibling->Red = Parent->Red;
        Parent->Red = 0;
        Sibling->Children[!Side]->Red = 0;
        RbRotate(Tree, Parent, Side);
        return;
    }
}

VOID RtlRbRemoveNode(RTL_RB_TREE *Tree, NODE *Node)
{
    NODE *Parent = RbParent(Node), *Child;
    BOOLEAN Red = Node->Red;
    ULONG Side;

    if (Tree->Min == Node)
        Tree->Min = RtlpRbNextNode(Node);
    if (Node->Left != NULL && Node->Right != NULL) {
        // The successor takes this node's place and colour; what is missing is the successor.
        NODE *Next = RtlpRbNextNode(Node);

        Red = Next->Red;
        Child = Next->Right;
        if (RbParent(Next) == Node) {
            Parent = Next;
            Side = 1;
        } else {
            Parent = RbParent(Next);
            Side = 0;
            RbReplaceChild(Tree, Parent, Next, Child);
            Next->Right = Node->Right;
            RbSetParent(Next->Right, Next);
        }
        RbReplaceChild(Tree, RbParent(Node), Node, Next);
        Next->Left = Node->Left;
        RbSetParent(Next->Left, Next);
        Next->Red = Node->Red;
    } else {
        Child = Node->Left != NULL ? Node->Left : Node->Right;
        Side = Parent != NULL && Parent->Right == Node;
        RbReplaceChild(Tree, Parent, Node, Child);
    }
    if (!Red) {
        if (Parent == NULL && Child != NULL)
            Child->Red = 0;
        RbRepair(Tree, Parent, Side);
    }
}
