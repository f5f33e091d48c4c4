r"""`!object`: objects and their directories."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.listing import in_pieces
from kdsim.debugger.commands.registry import HELP_LETTER, Option, Param, command
from kdsim.debugger.inspect import objects
from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import ArgumentError, MemoryFault

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

HEADER, CONTENTS, OPTIONAL, FULL_PATH = 0x1, 0x8, 0x10, 0x20
OBJECT_DEFAULT = HEADER | CONTENTS


@dataclass(frozen=True, slots=True)
class ObjectReport:
    """One object: its header facts and, for a directory or link, what it holds."""

    info: objects.ObjectInfo
    path: str
    flags: int
    optional: tuple[tuple[str, int], ...] = ()
    entries: tuple[objects.DirectoryEntry, ...] = ()
    target: str | None = None

    def lines(self) -> Iterator[str]:
        info = self.info
        yield f"Object: {info.address:016x}  Type: ({info.type_address:016x}) {info.type_name}"
        yield f"    ObjectHeader: {info.header:016x} (new version)"
        if self.flags & HEADER:
            yield f"    HandleCount: {info.handles}  PointerCount: {info.pointers}"
            if info.name:
                yield f"    Directory Object: {info.directory:016x}  Name: {self.path}"
        if self.optional:
            yield "Optional Headers: "
            for name, place in self.optional:
                yield f"    {name}({place:016x})"
        if self.target is not None:
            yield f"    Target String is '{self.target}'"
        if not self.entries:
            return
        yield ""
        yield "    Hash Address          Type                      Name"
        yield "    ---- -------          ----                      ----"
        bucket = -1
        for entry in self.entries:
            mark = f"{entry.bucket:02}" if entry.bucket != bucket else "  "
            bucket = entry.bucket
            found = entry.entry
            yield f"     {mark}  {found.address:016x} {found.type_name:25} {found.name}"


@dataclass(frozen=True, slots=True)
class Objects:
    objects: tuple[ObjectReport, ...]

    def lines(self) -> Iterator[str]:
        for report in self.objects:
            yield from report.lines()


@command(
    "!object",
    summary="An object's header, name and contents.",
    group="objects",
    params=(
        Param("object", "expression", "address, a path such as \\Driver, or 0 and a type's name"),
        Param(
            "flags",
            "flags",
            "what to show, 9 when left out",
            optional=True,
            bits=(
                (HEADER, "name and counts"),
                (CONTENTS, "with 1: what is in it"),
                (OPTIONAL, "optional headers"),
                (FULL_PATH, "with 1: the full path"),
            ),
        ),
    ),
    options=(
        Option("-p", "the private object name spaces"),
        HELP_LETTER,
    ),
    needs=Caps.READ,
    see_also=("!drvobj", "!devobj"),
    examples=("!object \\Device", "!object 0 Event"),
    notes="Flags 0 show its type only. !object 0 <type> lists all objects of a type.",
)
def show_object(session: Session, args: Arguments, name: str) -> ObjectReport | Objects:
    """Reads the OBJECT_HEADER; walks directories from nt!ObpRootDirectoryObject."""
    nt = Nt(session.symbols, session.memory)
    if args.done:
        raise ArgumentError("!object needs an address or a path such as \\Driver")
    if args.take("-p") is not None:
        args.at_end()
        raise ArgumentError("the table of private name spaces has no symbol in this kernel")
    if args.peek().startswith("\\"):
        path = args.word() or ""
        info = objects.lookup(nt, path)
        if info is None:
            raise ArgumentError(f"Object {path} not found")
    else:
        address = args.expression()
        if not address:
            return _instances(session, nt, args)
        try:
            info = objects.object_at(nt, address)
        except MemoryFault as error:
            raise ArgumentError(f"{address:x}: Not a valid object ({error})") from error
    flags = args.optional_expression()
    args.at_end()
    return _object_report(nt, info, OBJECT_DEFAULT if flags is None else flags)


def _instances(session: Session, nt: Nt, args: Arguments) -> Objects:
    """Every object of a type."""
    wanted = args.word()
    args.at_end()
    if wanted is None:
        raise ArgumentError("!object 0 needs the name of an object type, for instance Device")
    kinds = {nt.unicode(kind.Name).lower(): kind for kind in objects.types(nt)}
    kind = kinds.get(wanted.lower())
    if kind is None:
        raise ArgumentError(f"there is no object type {wanted}")
    reports = (_object_report(nt, info, HEADER) for info in objects.instances(nt, kind))
    found = in_pieces(session, reports, Objects)
    if not found.objects:
        # Only a kernel with FLG_MAINTAIN_OBJECT_TYPELIST keeps the list.
        raise ArgumentError("Objects are not kept in lists of their types (see !gflag +otl)")
    return found


def _object_report(nt: Nt, info: objects.ObjectInfo, flags: int) -> ObjectReport:
    path = objects.full_name(nt, info) if flags & FULL_PATH else info.name
    entries: tuple[objects.DirectoryEntry, ...] = ()
    target = None
    with_contents = flags & CONTENTS and flags & HEADER
    if with_contents and info.type_name == "Directory":
        entries = tuple(objects.directory_entries(nt, info.address))
    elif with_contents and info.type_name == "SymbolicLink":
        target = nt.unicode(nt.view("_OBJECT_SYMBOLIC_LINK", info.address).LinkTarget)
    optional = tuple(objects.optional_headers(nt, info.header)) if flags & OPTIONAL else ()
    return ObjectReport(info, path, flags, optional, entries, target)
