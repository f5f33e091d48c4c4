"""Writing memory: `e*`, `f`, `fp`, `m`; comparing it: `c`; files: `.readmem`, `.writemem`."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.display_options import PHYSICAL, take_caching
from kdsim.debugger.commands.listing import in_pieces
from kdsim.debugger.commands.memory_cells import FORMATS
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.text import address as tick
from kdsim.errors import ArgumentError, UserError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments, Range
    from kdsim.debugger.memory import CachedMemory
    from kdsim.debugger.session import Session

SIZES = {"eb": 1, "ew": 2, "ed": 4, "eq": 8, "ep": 8}
FLOATS = {"ef": "<f", "eD": "<d"}
STRINGS = ("ea", "eza", "eu", "ezu")
CHUNK = 0x10000

INPUT = "Input> "

ADDRESS = Param("address", "expression", "where")
VALUES = Param("values", "values", "what, upwards from there", optional=True)


@command(
    "e",
    *SIZES,
    *FLOATS,
    summary="Enter values into memory; without values they are asked for one by one.",
    group="memory",
    params=(ADDRESS, VALUES),
    needs=Caps.WRITE,
    see_also=("db", "ea", "f"),
    notes="ed nt!PoolHitTag ' cbA' enters the pool tag Abc: characters count from the high byte.\n"
    "Asked for a value, a blank keeps what is there and an empty answer ends.\n"
    "e enters what the last e* command did.",
    options=(PHYSICAL,),
)
def enter(session: Session, args: Arguments, name: str) -> None:
    kind = session.cursor.entry if name == "e" else name
    if kind in STRINGS:
        _enter_string(session, args, kind)
        return
    session.cursor.entry = kind
    memory = _memory(session, args)
    va = args.address()
    if args.done:
        _ask_values(session, args, memory, va, kind)
        return
    memory.write(va, b"".join(_values(args, kind)))


def _memory(session: Session, args: Arguments) -> CachedMemory:
    if args.take("/p"):
        take_caching(args)
        return session.physical
    return session.memory


def _values(args: Arguments, kind: str) -> list[bytes]:
    return list(_floats(args, kind)) if kind in FLOATS else args.values(SIZES[kind])


def _floats(args: Arguments, kind: str) -> Iterator[bytes]:
    while not args.done:
        column, word = args.position, args.word() or ""
        try:
            yield struct.pack(FLOATS[kind], float(word))
        except (ValueError, OverflowError):
            raise args.error(column=column) from None


def _ask_values(
    session: Session, args: Arguments, memory: CachedMemory, va: int, kind: str
) -> None:
    """A blank keeps the value, an empty answer ends."""
    size = struct.calcsize(FLOATS[kind]) if kind in FLOATS else SIZES[kind]
    while True:
        old = memory.read(va, size)
        session.out.line(f"{tick(va)} {FORMATS[f'd{kind[1:]}'].show(old).strip()}")
        answer = session.ask(INPUT)
        if not answer:
            return
        values = _values(type(args)(answer, args.context), kind)
        memory.write(va, b"".join(values))
        va += size * max(1, len(values))


@command(
    *STRINGS,
    summary="Enter a string, ASCII (ea) or Unicode (eu); the z forms add the terminator.",
    group="memory",
    params=(ADDRESS, Param("string", "string", 'in double quotes, "text"')),
    needs=Caps.WRITE,
    see_also=("da", "eb"),
    options=(PHYSICAL,),
)
def enter_string(session: Session, args: Arguments, name: str) -> None:
    _enter_string(session, args, name)


def _enter_string(session: Session, args: Arguments, kind: str) -> None:
    session.cursor.entry = kind
    memory = _memory(session, args)
    va = args.address()
    text = args.string()
    if text is None:
        raise args.error()
    args.at_end()
    wide = kind.endswith("u")
    data = text.encode("utf-16-le", "surrogatepass") if wide else text.encode("latin-1", "replace")
    if "z" in kind:
        data += bytes(2 if wide else 1)
    memory.write(va, data)


@dataclass(frozen=True, slots=True)
class Filled:
    """Memory that `f` has filled."""

    address: int
    size: int

    def lines(self) -> Iterator[str]:
        yield f"Filled 0x{self.size:x} bytes"


@command(
    "f",
    "fp",
    summary="Fill memory (fp: physical memory) with a repeated pattern of bytes.",
    group="memory",
    params=(Param("range", "range", "where"), Param("pattern", "values", "bytes")),
    needs=Caps.WRITE,
    see_also=("eb", "m"),
)
def fill(session: Session, args: Arguments, name: str) -> Filled:
    if name == "fp":
        take_caching(args)
    span = args.range(1, 0x80)
    pattern = b"".join(args.values(1))
    if span.address is None or not pattern:
        raise args.error()
    memory = session.physical if name == "fp" else session.memory
    piece = pattern * (CHUNK // len(pattern) + 1)
    start = 0
    while start < span.size:
        session.check_interrupt()
        memory.write(span.address + start, piece[: span.size - start])
        start += len(piece)
    return Filled(span.address, span.size)


@command(
    "m",
    summary="Move memory; source and destination may overlap.",
    group="memory",
    params=(Param("range", "range", "from"), Param("address", "expression", "to")),
    needs=Caps.READ | Caps.WRITE,
    see_also=("c", "f"),
)
def move(session: Session, args: Arguments, name: str) -> None:
    span = args.range(1, 0x80)
    destination = args.address()
    args.at_end()
    if span.address is None:
        raise args.error()
    session.memory.write(destination, session.memory.read(span.address, span.size))


@dataclass(frozen=True, slots=True)
class Difference:
    left: int
    left_byte: int
    right: int
    right_byte: int

    def __str__(self) -> str:
        return (
            f"{tick(self.left)}  {self.left_byte:02x} - {tick(self.right)}  {self.right_byte:02x}"
        )


@dataclass(frozen=True, slots=True)
class Differences:
    """Bytes that differ between two ranges."""

    found: tuple[Difference, ...]

    def lines(self) -> Iterator[str]:
        yield from map(str, self.found)


@command(
    "c",
    summary="Compare two pieces of memory byte by byte.",
    group="memory",
    params=(Param("range", "range", "one"), Param("address", "expression", "the other")),
    needs=Caps.READ,
    see_also=("m", "s"),
)
def compare(session: Session, args: Arguments, name: str) -> Differences:
    span = args.range(1, 0x80)
    other = args.address()
    args.at_end()
    if span.address is None:
        raise args.error()
    return in_pieces(session, _differences(session, span, other - span.address), Differences)


def _differences(session: Session, span: Range, distance: int) -> Iterator[Difference]:
    assert span.address is not None
    for start in range(span.address, span.end, CHUNK):
        session.check_interrupt()
        size = min(CHUNK, span.end - start)
        left, right = session.memory.read(start, size), session.memory.read(start + distance, size)
        if left != right:
            for va, (a, b) in enumerate(zip(left, right, strict=True), start):
                if a != b:
                    yield Difference(va, a, va + distance, b)


@dataclass(frozen=True, slots=True)
class Copied:
    """Memory that went to a file, or came from one."""

    action: Literal["Writing", "Reading"]
    file: str
    address: int
    size: int

    def lines(self) -> Iterator[str]:
        yield f"{self.action} {self.size:x} bytes."


@command(
    ".writemem",
    ".readmem",
    summary="Copy memory to a file (.writemem), or a file to memory (.readmem), as raw bytes.",
    group="memory",
    params=(Param("file", "file", "its name"), Param("range", "range", "memory")),
    needs=Caps.READ,
    see_also=("db", "s"),
)
def copy_file(session: Session, args: Arguments, name: str) -> Copied:
    path = Path(args.word() or "")
    if not path.name:
        raise args.error()
    span = args.range(1, 0x80)
    args.at_end()
    if span.address is None:
        raise args.error()
    try:
        if name == ".writemem":
            data = _read_all(session, span.address, span.size)
            path.write_bytes(data)
            return Copied("Writing", str(path), span.address, len(data))
        data = path.read_bytes()[: span.size if span.form != "address" else None]
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"Unable to open file '{path}': {reason}") from error
    if Caps.WRITE not in session.backend.caps:
        raise ArgumentError(session.backend.refusals.get(Caps.WRITE, "Memory cannot be written"))
    with session.progress(f"Reading {path.name}", len(data)) as progress:
        for start in range(0, len(data), CHUNK):
            piece = data[start : start + CHUNK]
            session.memory.write(span.address + start, piece)
            progress.advance(len(piece))
    return Copied("Reading", str(path), span.address, len(data))


def _read_all(session: Session, address: int, size: int) -> bytes:
    pieces = []
    with session.progress("Reading memory", size) as progress:
        for start in range(0, size, CHUNK):
            pieces.append(session.memory.read(address + start, min(CHUNK, size - start)))
            progress.advance(len(pieces[-1]))
    return b"".join(pieces)
