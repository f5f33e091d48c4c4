"""What a process has open: `!handle`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.processes import LARGEST_PID, process_argument
from kdsim.debugger.commands.processreport import ProcessHead, head_of
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.inspect import handles, objects, processes
from kdsim.debugger.inspect.fields import Unreadable, attempt
from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import ArgumentError, KdsimError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

BASIC, OBJECTS, FREE, KERNEL, CLIENT_ID = 0x1, 0x2, 0x4, 0x10, 0x20
DEFAULT_FLAGS = BASIC | OBJECTS
ALL = (1 << 64) - 1
_WORDS = {
    handles.PROTECTED: " (Protected)",
    handles.INHERIT: " (Inherit)",
    handles.AUDIT: " (Audit)",
}


@dataclass(frozen=True, slots=True)
class HandleLine:
    """One handle and the object behind it."""

    handle: handles.Handle
    object: int
    info: objects.ObjectInfo | Unreadable | None
    path: str
    flags: int

    def lines(self) -> Iterator[str]:
        found = self.handle
        if not found.header:
            yield (
                f"{found.value:04x}: free handle, Entry address {found.entry:016x},"
                f" Next Entry {found.next_free:016x}"
            )
            return
        words = "".join(word for bit, word in _WORDS.items() if found.attributes & bit)
        yield (
            f"{found.value:04x}: Object: {self.object:016x}  GrantedAccess: {found.access:08x}"
            f"{words} Entry: {found.entry:016x}"
        )
        if self.flags & OBJECTS:
            yield from self._object()
            yield ""

    def _object(self) -> Iterator[str]:
        info = self.info
        if info is None or isinstance(info, Unreadable):
            yield f"Object: {self.object:016x}  {info}"
            return
        yield f"Object: {self.object:016x}  Type: ({info.type_address:016x}) {info.type_name}"
        yield f"    ObjectHeader: {info.header:016x} (new version)"
        yield f"        HandleCount: {info.handles}  PointerCount: {info.pointers}"
        if info.name:
            yield f"        Directory Object: {info.directory:016x}  Name: {self.path}"


@dataclass(frozen=True, slots=True)
class HandleTable:
    """The handles of one process."""

    process: ProcessHead
    table: int
    count: int
    kernel: bool
    handles: tuple[HandleLine, ...]

    def lines(self) -> Iterator[str]:
        yield ""
        yield from self.process.lines()
        yield ""
        word = "Kernel handle table" if self.kernel else "Handle table"
        yield f"{word} at {self.table:016x} with {self.count} entries in use"
        yield ""
        for handle in self.handles:
            yield from handle.lines()


class _Reader:
    """Reads handle tables of one stop."""

    def __init__(self, session: Session, flags: int, type_name: str) -> None:
        self.session = session
        self.nt = Nt(session.symbols, session.memory)
        self.flags = flags
        self.type_name = type_name
        self._body = self.nt.record("_OBJECT_HEADER").offset("Body")

    def table(self, process: int, wanted: int | None) -> HandleTable:
        view = self.nt.view("_EPROCESS", process)
        address = int(view.ObjectTable)
        if not address:
            raise ArgumentError(f"process {process:016x} has no handle table")
        return HandleTable(
            process=head_of(self.nt, view),
            table=address,
            count=processes.handle_count(self.nt, address),
            kernel=bool(self.flags & KERNEL),
            handles=tuple(self._handles(address, wanted)),
        )

    def _handles(self, table: int, wanted: int | None) -> Iterator[HandleLine]:
        for handle in handles.entries(self.nt, table):
            self.session.check_interrupt()
            if wanted is not None and handle.value != wanted:
                continue
            if not handle.header and wanted is None and not self.flags & FREE:
                continue
            line = self._line(handle)
            if self.type_name and not self._is_type(line):
                continue
            yield line

    def _is_type(self, line: HandleLine) -> bool:
        return isinstance(line.info, objects.ObjectInfo) and line.info.type_name == self.type_name

    def _line(self, handle: handles.Handle) -> HandleLine:
        body = handle.header + self._body if handle.header else 0
        info: objects.ObjectInfo | Unreadable | None = None
        path = ""
        if body and (self.flags & OBJECTS or self.type_name):
            info = self.info(body)
            if isinstance(info, objects.ObjectInfo) and info.name:
                path = self._path(info)
        return HandleLine(handle, body, info, path, self.flags)

    def info(self, body: int) -> objects.ObjectInfo | Unreadable:
        try:
            return objects.object_at(self.nt, body)
        except KdsimError as error:
            return Unreadable(str(error))

    def _path(self, info: objects.ObjectInfo) -> str:
        path = attempt(lambda: objects.full_name(self.nt, info))
        return info.name if isinstance(path, Unreadable) else path


@dataclass(frozen=True, slots=True)
class HandleTables:
    """The tables that were asked for."""

    processor: int
    tables: tuple[HandleTable, ...]

    def lines(self) -> Iterator[str]:
        for table in self.tables:
            yield from table.lines()


@command(
    "!handle",
    summary="The handles of a process, and what they refer to.",
    group="objects",
    params=(
        Param("handle", "expression", "0, -1 or nothing: all", optional=True),
        Param(
            "flags",
            "flags",
            "what to show, 3 when left out",
            optional=True,
            bits=(
                (BASIC, "the handle"),
                (OBJECTS, "the object"),
                (FREE, "free entries too"),
                (KERNEL, "the kernel's table"),
                (CLIENT_ID, "it is a process or thread id"),
            ),
        ),
        Param("process", "process", "EPROCESS or pid; 0 all, -1 current", optional=True),
        Param("type", "text", "only objects of this type (Event, Token ...)", optional=True),
    ),
    needs=Caps.READ,
    see_also=("!process", "!object"),
)
def show_handles(session: Session, args: Arguments, name: str) -> HandleTables | HandleLine:
    """Walks EPROCESS.ObjectTable."""
    handle = args.optional_expression(ALL)
    flags = args.optional_expression(DEFAULT_FLAGS)
    which = args.optional_expression()
    type_name = args.word() or ""
    args.at_end()
    assert handle is not None
    assert flags is not None
    reader = _Reader(session, flags, type_name)
    if flags & CLIENT_ID:
        return _client(reader, handle)
    wanted = None if handle in (0, ALL) else handle
    if wanted is not None and wanted & handles.KERNEL_BITS == handles.KERNEL_BITS:
        wanted &= ~handles.KERNEL_BITS
        reader.flags |= KERNEL
    tables = tuple(_tables(session, reader, which, wanted))
    if wanted is not None and not any(table.handles for table in tables):
        raise ArgumentError(f"{wanted:04x}: no such handle in the table")
    return HandleTables(session.processor, tables)


def _tables(
    session: Session, reader: _Reader, which: int | None, wanted: int | None
) -> Iterator[HandleTable]:
    nt = reader.nt
    if reader.flags & KERNEL:
        yield reader.table(nt.pointer("PsInitialSystemProcess"), wanted)
    elif which == 0:
        for process in processes.processes(nt):
            if process.object_table:
                table = reader.table(process.address, wanted)
                if table.handles or (wanted is None and not reader.type_name):
                    yield table
    else:
        yield reader.table(process_argument(session, nt, which), wanted)


def _client(reader: _Reader, client: int) -> HandleLine:
    """The process or thread whose id this is, from nt!PspCidTable."""
    if client > LARGEST_PID:
        raise ArgumentError("a process or thread id is needed with flag 20")
    nt = reader.nt
    for entry in handles.entries(nt, nt.pointer("PspCidTable")):
        if entry.value == client and entry.header:
            # This table's entries hold the objects, not their headers.
            body = entry.header
            return HandleLine(entry, body, reader.info(body), "", reader.flags | OBJECTS)
    raise ArgumentError(f"no process or thread with id {client:x}")
