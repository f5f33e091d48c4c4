"""Generic tables: RTL_AVL_TABLE and RTL_GENERIC_TABLE."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import MemoryFault

NODE_LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class Node:
    """A node and what the table's user keeps in it."""

    address: int
    parent: int
    left: int
    right: int
    data: int


def avl_nodes(nt: Nt, table: int) -> Iterator[Node]:
    """Nodes of an RTL_AVL_TABLE in order; the root is the right child of its balanced root."""
    root = nt.view("_RTL_AVL_TABLE", table).BalancedRoot.RightChild
    return _in_order(nt, root, "_RTL_BALANCED_LINKS", nt.record("_RTL_BALANCED_LINKS").size)


def splay_nodes(nt: Nt, table: int) -> Iterator[Node]:
    """Nodes of an RTL_GENERIC_TABLE in order: splay links, a list entry, then the data."""
    root = nt.view("_RTL_GENERIC_TABLE", table).TableRoot
    size = nt.record("_RTL_SPLAY_LINKS").size + nt.record("_LIST_ENTRY").size
    return _in_order(nt, root, "_RTL_SPLAY_LINKS", size)


def _in_order(nt: Nt, root: int, record: str, size: int) -> Iterator[Node]:
    stack: list[int] = []
    node, seen = root, 0
    while stack or node:
        while node:
            seen += 1
            if seen > NODE_LIMIT:
                raise MemoryFault(node, 8, "the table's tree does not end")
            stack.append(node)
            node = nt.view(record, node).LeftChild
        node = stack.pop()
        view = nt.view(record, node).snapshot()
        yield Node(node, view.Parent, view.LeftChild, view.RightChild, node + size)
        node = view.RightChild
