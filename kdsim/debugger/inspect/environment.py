"""The user half's own records: process and thread environment blocks, the loader's lists.

All of it lies in user memory: the caller reads through the page tables of the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kdsim.debugger.inspect.fields import Unreadable, attempt
from kdsim.debugger.inspect.nt import LIST_LIMIT, Nt
from kdsim.errors import MemoryFault
from kdsim.symbols.views import View

# More than any environment holds: CreateProcess limits it to 32,767 characters.
ENVIRONMENT_LIMIT = 0x10000


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """An entry of PEB.Ldr."""

    base: int
    size: int
    timestamp: int
    path: str

    @property
    def name(self) -> str:
        return self.path.rpartition("\\")[2]


def modules(nt: Nt, peb: int) -> Iterator[LoadedImage]:
    """The images of a process in the order they were loaded."""
    ldr = nt.view("_PEB", peb).Ldr
    if not ldr:
        return
    head = nt.view("_PEB_LDR_DATA", ldr).at("InLoadOrderModuleList")
    for entry in nt.list_entries(head, "_LDR_DATA_TABLE_ENTRY", "InLoadOrderLinks"):
        path = nt.unicode(entry.FullDllName)
        yield LoadedImage(entry.DllBase, entry.SizeOfImage, entry.TimeDateStamp, path)


def text(nt: Nt, string: View) -> str | Unreadable:
    """A UNICODE_STRING of user memory; Windows leaves the buffer out where there is no text."""
    if not string.Buffer:
        return Unreadable(" Name not readable ")
    return attempt(lambda: nt.unicode(string))


def environment(nt: Nt, block: int) -> list[str]:
    """The strings of an environment block, which an empty one ends."""
    found: list[str] = []
    text, at = "", block
    while at - block < ENVIRONMENT_LIMIT:
        step = 64 - at % 64
        text += nt.memory.read(at, step).decode("utf-16-le", "replace")
        at += step
        *whole, text = text.split("\0")
        for line in whole:
            if not line:
                return found
            found.append(line)
            if len(found) > LIST_LIMIT:
                break
    raise MemoryFault(at, 2, "the environment does not end")
