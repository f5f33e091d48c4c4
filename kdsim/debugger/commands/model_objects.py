"""The debugger's own objects in `dx`: sessions, processes, threads, lists of records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kdsim.debugger.inspect.nt import Nt
from kdsim.debugger.language.typed import Typed
from kdsim.debugger.text import address as tick
from kdsim.debugger.threads import thread_registers
from kdsim.errors import ArgumentError, KdsimError
from kdsim.symbols.types import Record

if TYPE_CHECKING:
    from kdsim.debugger.session import Session
    from kdsim.symbols.views import View

MEMORY_BYTES = 2**64


@dataclass(frozen=True, slots=True)
class Thing:
    """An object with named members; each is made when somebody looks at it."""

    text: str = ""
    mark: str = ""
    members: Mapping[str, Callable[[], Value]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sequence:
    """Something to iterate over: keys and values."""

    rows: Callable[[], Iterator[tuple[int, Value]]]


Value = Typed | Thing | Sequence | str | int | bool


def root(session: Session, name: str) -> Value | None:
    """What a name at the beginning of an expression stands for; None: it is no object."""
    makers: dict[str, Callable[[], Value]] = {
        "Debugger": lambda: _debugger(session),
        "@$cursession": lambda: _session(session),
        "@$curprocess": lambda: _process(session, session.current_process()),
        "@$curthread": lambda: _thread(session, session.current_thread()),
    }
    maker = makers.get(name)
    return maker() if maker else None


def _debugger(session: Session) -> Thing:
    def only_session() -> Iterator[tuple[int, Value]]:
        yield 0, _session(session)

    return Thing(
        members={
            "Sessions": lambda: Sequence(only_session),
            "Utility": lambda: Thing(members={"Collections": Thing}),
        }
    )


def _session(session: Session) -> Thing:
    def processes() -> Iterator[tuple[int, Value]]:
        nt = Nt(session.symbols, session.memory)
        head = nt.address("PsActiveProcessHead")
        for view in nt.list_entries(head, "_EPROCESS", "ActiveProcessLinks"):
            session.check_interrupt()
            yield int(view.UniqueProcessId), _process(session, view.address)

    return Thing(
        text="Local KD" if session.local else "Remote KD",
        members={"Processes": lambda: Sequence(processes), "Id": lambda: 0},
    )


def _process(session: Session, address: int) -> Thing:
    view = session.nt_view("_EPROCESS", address)

    def threads() -> Iterator[tuple[int, Value]]:
        nt = Nt(session.symbols, session.memory)
        head = view.at("ThreadListHead")
        for thread in nt.list_entries(head, "_ETHREAD", "ThreadListEntry"):
            session.check_interrupt()
            yield int(thread.Cid.UniqueThread), _thread(session, thread.address)

    name = view.ImageFileName.text()
    return Thing(
        text=name,
        mark="[Switch To]",
        members={
            "KernelObject": lambda: _native(view),
            "Name": lambda: name,
            "Id": lambda: int(view.UniqueProcessId),
            "Threads": lambda: Sequence(threads),
        },
    )


def _thread(session: Session, address: int) -> Thing:
    view = session.nt_view("_ETHREAD", address)
    return Thing(
        text=_where(session, address),
        mark=" [Switch To]",
        members={
            "KernelObject": lambda: _native(view),
            "Id": lambda: int(view.Cid.UniqueThread),
        },
    )


def _where(session: Session, thread: int) -> str:
    """The top of a thread's stack: `nt!KiSwapContext+0x76 (fffff806`4466a186)`."""
    try:
        registers = thread_registers(session, thread) or session.live_registers
        ip = registers["rip"]
    except KdsimError:
        return "<Unable to get stack trace>"
    return f"{session.symbols.format(ip)} ({tick(ip)})"


def _native(view: View) -> Typed:
    return Typed(view.record, view.address, view.address)


def from_list_entry(session: Session, head: Value, type_name: str, field_name: str) -> Sequence:
    """`Debugger.Utility.Collections.FromListEntry(head, "nt!_EPROCESS", "ActiveProcessLinks")`."""
    if not isinstance(head, Typed) or head.type.name != "_LIST_ENTRY":
        raise ArgumentError(
            "Error: FromListEntry takes a _LIST_ENTRY, for instance *(nt!_LIST_ENTRY*)&head"
        )
    record = session.symbols.type(type_name)
    if not isinstance(record, Record):
        raise ArgumentError(f"Error: {type_name} is not a structure")
    kind = record
    try:
        offset = kind.offset(field_name)
    except KeyError:
        raise ArgumentError(f"Error: Unable to bind name '{field_name}'") from None
    start = head.number()

    def rows() -> Iterator[tuple[int, Value]]:
        entry, index = session.memory.u64(start), 0
        seen = {start}
        while entry not in seen:
            session.check_interrupt()
            seen.add(entry)
            place = (entry - offset) % MEMORY_BYTES
            yield index, Typed(kind, place, place)
            entry, index = session.memory.u64(entry), index + 1

    return Sequence(rows)
