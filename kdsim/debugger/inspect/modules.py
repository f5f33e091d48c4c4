"""Loaded and unloaded kernel modules, from the kernel's own lists.

Walks: nt!PsLoadedModuleList (KLDR_DATA_TABLE_ENTRY.InLoadOrderLinks), nt!MmUnloadedDrivers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kdsim.debugger.inspect.nt import Nt

# Mm keeps this many unloaded drivers (MI_UNLOADED_DRIVERS of public kernel descriptions).
UNLOADED_LIMIT = 50


@dataclass(frozen=True, slots=True)
class LoaderEntry:
    """One KLDR_DATA_TABLE_ENTRY."""

    address: int
    base: int
    size: int
    entry_point: int
    base_name: str
    full_name: str
    checksum: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class UnloadedDriver:
    """One entry of nt!MmUnloadedDrivers."""

    name: str
    start: int
    end: int
    time: int


def loaded(nt: Nt) -> Iterator[LoaderEntry]:
    head = nt.address("PsLoadedModuleList")
    for view in nt.list_entries(head, "_KLDR_DATA_TABLE_ENTRY", "InLoadOrderLinks"):
        yield LoaderEntry(
            address=view.address,
            base=view.DllBase,
            size=view.SizeOfImage,
            entry_point=view.EntryPoint,
            base_name=nt.unicode(view.BaseDllName),
            full_name=nt.unicode(view.FullDllName),
            checksum=view.CheckSum,
            timestamp=view.TimeDateStamp,
        )


def unloaded(nt: Nt) -> Iterator[UnloadedDriver]:
    """Newest first."""
    table = nt.pointer("MmUnloadedDrivers")
    if not table:
        return
    layout = nt.record("_UNLOADED_DRIVERS")
    last = nt.u32("MmLastUnloadedDriver")
    for step in range(1, UNLOADED_LIMIT + 1):
        place = table + (last - step) % UNLOADED_LIMIT * layout.size
        view = nt.view("_UNLOADED_DRIVERS", place)
        if not view.Name.Buffer:
            continue
        yield UnloadedDriver(
            nt.unicode(view.Name), view.StartAddress, view.EndAddress, view.CurrentTime
        )


def unloaded_at(nt: Nt, address: int) -> UnloadedDriver | None:
    """The unloaded driver whose image covered this address last."""
    return next((d for d in unloaded(nt) if d.start <= address < d.end), None)
