"""`s`: find bytes, words, text or strings in memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.listing import in_pieces
from kdsim.debugger.commands.memory_cells import FORMATS, Row, characters, row_line, rows
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.text import address as tick

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments, Range
    from kdsim.debugger.session import Session

CHUNK = 0x10000
SAVED = 1024
SHORTEST_STRING = 3
LONGEST_STRING = 0x1000
"""Text longer than this may be shown in pieces."""

SIZES = {"b": 1, "w": 2, "d": 4, "q": 8, "a": 1, "u": 2, "v": 8}
_SHOWN_AS = {"b": "db", "a": "db", "w": "dW", "u": "dW", "d": "dc", "q": "dq", "v": "dq"}
_SWITCH = re.compile(r"-\s*(?:\[([^\]]*)\])?\s*(sa|su|[bwdqauv])?")
_FLAG = re.compile(r"\s*(?:([srw1])|([nl])\s*([0-9a-fA-Fxn]+))")


@dataclass(frozen=True, slots=True)
class Options:
    """`s -[flags]type`."""

    kind: str = "b"
    save: bool = False
    again: bool = False
    addresses_only: bool = False
    most: int = SAVED
    shortest: int = SHORTEST_STRING


@dataclass(frozen=True, slots=True)
class Hits:
    """Where a pattern was found, with the line that shows it."""

    kind: str
    rows: tuple[Row, ...]
    addresses_only: bool = False

    def lines(self) -> Iterator[str]:
        layout = FORMATS[_SHOWN_AS[self.kind]]
        for row in self.rows:
            if self.addresses_only:
                yield f"0x{row.address:016x}"
            else:
                yield row_line(row, layout, layout.columns)


@dataclass(frozen=True, slots=True)
class FoundStrings:
    """Strings found by `s -sa` and `s -su`."""

    found: tuple[tuple[int, str], ...]
    addresses_only: bool = False

    def lines(self) -> Iterator[str]:
        for va, text in self.found:
            yield f"0x{va:016x}" if self.addresses_only else f'{tick(va)}  "{text}"'


@command(
    "s",
    summary="Search memory: bytes (-b), words (-w -d -q), text (-a -u), any strings (-sa -su).",
    group="memory",
    params=(Param("range", "range", "where"), Param("pattern", "values", "what", optional=True)),
    needs=Caps.READ,
    glued=r"-",
    see_also=("#", "c", "db"),
    notes="-v finds objects with the vtable of the one whose address follows.\n"
    "Flags: [s] save hits, [r] search those, [n N] save N, [l N] shortest string, [1].",
)
def search(session: Session, args: Arguments, name: str) -> Hits | FoundStrings:
    options = _options(args)
    size = SIZES.get(options.kind, 1)
    if options.again:
        places = list(session.cursor.hits)
        pattern = _pattern(args, options.kind)
        return _show(session, options, (va for va in places if _holds(session, va, pattern)))
    span = args.range(size, 0x80)
    if span.address is None:
        raise args.error()
    if options.kind in ("sa", "su"):
        args.at_end()
        return _strings(session, span, options)
    if options.kind == "v":
        # Objects of one class begin with the same vtable pointer.
        pattern = session.memory.read(args.expression(), size)
        args.at_end()
    else:
        pattern = _pattern(args, options.kind)
    aligned = size if options.kind in "wdqv" else 1
    return _show(session, options, _find(session, span, pattern, aligned))


def _options(args: Arguments) -> Options:
    if not args.peek().startswith("-"):
        return Options()
    found = _SWITCH.match(args.text, args.position)
    if (
        found is None
        or (found[1] is not None and found[2] is None)
        or found.end() == args.position + 1
    ):
        raise args.error()
    args.position = found.end()
    values: dict[str, int] = {}
    flags = found[1] or ""
    position = 0
    while flags[position:].strip():
        flag = _FLAG.match(flags, position)
        if flag is None:
            raise args.error()
        values[flag[1] or flag[2]] = int(flag[3], 0 if "x" in flag[3] else 16) if flag[3] else 1
        position = flag.end()
    return Options(
        kind=found[2] or "b",
        save="s" in values,
        again="r" in values,
        addresses_only="1" in values,
        most=values.get("n", SAVED),
        shortest=values.get("l", SHORTEST_STRING),
    )


def _pattern(args: Arguments, kind: str) -> bytes:
    if kind in "au":
        text = args.string() or args.word()
        data = (text or "").encode("utf-16-le" if kind == "u" else "latin-1", "replace")
        args.at_end()
    else:
        data = b"".join(args.values(SIZES[kind]))
    if not data:
        raise args.error()
    return data


def _holds(session: Session, va: int, pattern: bytes) -> bool:
    return session.memory.read_some(va, len(pattern)) == pattern


def _readable(session: Session, span: Range) -> Iterator[tuple[int, bytes]]:
    """The readable pieces of a range, in order."""
    at, end = span.address or 0, span.end
    while at < end:
        session.check_interrupt()
        data = session.memory.read_some(at, min(CHUNK, end - at))
        if data:
            yield at, data
            at += len(data)
        else:
            at = session.memory.skip_hole(at, end)


def _find(session: Session, span: Range, pattern: bytes, aligned: int) -> Iterator[int]:
    """Overlapping hits that lie wholly in the range."""
    tail, tail_end = b"", 0
    for at, data in _readable(session, span):
        if tail_end != at:
            tail = b""
        start, joined = at - len(tail), tail + data
        place = joined.find(pattern)
        while place >= 0:
            if (start + place - (span.address or 0)) % aligned == 0:
                yield start + place
            place = joined.find(pattern, place + 1)
        tail = joined[max(0, len(joined) - len(pattern) + 1) :]
        tail_end = at + len(data)


def _show(session: Session, options: Options, found: Iterable[int]) -> Hits:
    layout = FORMATS[_SHOWN_AS[options.kind]]
    saved: list[int] = []

    def shown() -> Iterator[Row]:
        for va in found:
            if len(saved) < options.most:
                saved.append(va)
            yield from rows(session.memory, va, layout.columns, layout, layout.columns)

    hits = in_pieces(
        session, shown(), lambda found: Hits(options.kind, found, options.addresses_only)
    )
    if options.save or options.again:
        session.cursor.hits = saved
    return hits


def _strings(session: Session, span: Range, options: Options) -> FoundStrings:
    """Runs of printable characters, at least as long as asked for."""
    printable = rb"[\x20-\x7e\t]"
    unit = printable + rb"\x00" if options.kind == "su" else printable
    pattern = re.compile(rb"(?:%s){%d,}" % (unit, options.shortest))
    saved: list[int] = []

    def found() -> Iterator[tuple[int, str]]:
        for at, data in _runs(session, span, re.compile(rb"(?:%s)+\Z" % unit)):
            for hit in pattern.finditer(data):
                if len(saved) < options.most:
                    saved.append(at + hit.start())
                text = hit[0].decode("utf-16-le" if options.kind == "su" else "latin-1")
                yield at + hit.start(), characters(text.encode("latin-1"))

    strings = in_pieces(session, found(), lambda rows: FoundStrings(rows, options.addresses_only))
    if options.save:
        session.cursor.hits = saved
    return strings


def _runs(session: Session, span: Range, tail: re.Pattern[bytes]) -> Iterator[tuple[int, bytes]]:
    """The readable pieces; what `tail` finds at the end of one goes in front of the next."""
    held_at, held = 0, b""
    for at, data in _readable(session, span):
        if held_at + len(held) != at:
            yield held_at, held
            held_at, held = at, b""
        start, joined = held_at, held + data
        found = tail.search(joined[-LONGEST_STRING:])
        cut = len(joined) - len(found[0]) if found else len(joined)
        yield start, joined[:cut]
        held_at, held = start + cut, joined[cut:]
    yield held_at, held
