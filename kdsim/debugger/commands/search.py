"""`s`: find bytes, words, text or strings in memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.listing import in_pieces
from kdsim.debugger.commands.memory_cells import FORMATS, Row, characters, row_line, rows
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.language.problems import OVERFLOW
from kdsim.debugger.memory_search import occurrences, readable
from kdsim.debugger.text import address as tick

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments, Range
    from kdsim.debugger.session import Session

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
    writable: bool = False
    addresses_only: bool = False
    most: int = SAVED
    shortest: int = SHORTEST_STRING


@dataclass(frozen=True, slots=True)
class Hits:
    """Where a pattern was found, with the line that shows it."""

    kind: str
    rows: tuple[Row, ...]
    addresses_only: bool = False
    overflow: bool = False

    def lines(self) -> Iterator[str]:
        layout = FORMATS[_SHOWN_AS[self.kind]]
        for row in self.rows:
            if self.addresses_only:
                yield f"0x{row.address:016x}"
            else:
                yield row_line(row, layout, layout.columns)
        if self.overflow:
            yield OVERFLOW


@dataclass(frozen=True, slots=True)
class FoundStrings:
    """Strings found by `s -sa` and `s -su`."""

    found: tuple[tuple[int, str], ...]
    addresses_only: bool = False
    overflow: bool = False

    def lines(self) -> Iterator[str]:
        for va, text in self.found:
            yield f"0x{va:016x}" if self.addresses_only else f'{tick(va)}  "{text}"'
        if self.overflow:
            yield OVERFLOW


@command(
    "s",
    summary="Search memory.",
    group="memory",
    params=(Param("range", "range", "where"), Param("pattern", "values", "what", optional=True)),
    options=(
        Option("-b", "bytes, as without a switch"),
        Option("-w", "words"),
        Option("-d", "double words"),
        Option("-q", "quad words"),
        Option("-a", "a text, ASCII"),
        Option("-u", "a text, Unicode"),
        Option("-sa", "any ASCII text"),
        Option("-su", "any Unicode text"),
        Option("-v", "objects with the vtable of the one whose address follows"),
    ),
    needs=Caps.READ,
    glued=r"-",
    see_also=("#", "c", "db"),
    notes="Flags stand in brackets behind the dash, as in s -[1w]d: s save hits, r search those,\n"
    "n N how many to save, l N shortest string, w writable memory only, 1 addresses only.",
)
def search(session: Session, args: Arguments, name: str) -> Hits | FoundStrings:
    options = _options(session, args)
    size = SIZES.get(options.kind, 1)
    span = args.range(size, 0x80)
    if span.address is None:
        raise args.error()
    pieces = _pieces(session, span, options)
    if options.kind in ("sa", "su"):
        args.at_end()
        return _strings(session, pieces, options)
    if options.kind == "v":
        # Objects of one class begin with the same vtable pointer.
        pattern = session.memory.read(args.expression(), size)
        args.at_end()
    else:
        pattern = _pattern(args, options.kind)
    if options.again:
        found = (va for va in session.cursor.hits if _holds(session, va, pattern))
        return _show(session, options, found)
    aligned = size if options.kind in "wdqv" else 1
    places = (
        va
        for start, end in pieces
        for va in occurrences(session.memory, start, end, pattern, session.check_interrupt)
        if (va - span.address) % aligned == 0
    )
    with session.progress("Searching"):
        return _show(session, options, places)


def _pieces(session: Session, span: Range, options: Options) -> Iterable[tuple[int, int]]:
    """Where to look: the range, or what of it may be written to."""
    start, end = span.address or 0, min(span.end, 1 << 64)
    return session.memory.writable(start, end) if options.writable else ((start, end),)


def _options(session: Session, args: Arguments) -> Options:
    if not args.peek().startswith("-"):
        return Options()
    found = _SWITCH.match(args.text, args.position)
    if (
        found is None
        or (found[1] is not None and found[2] is None)
        or found.end() == args.position + 1
    ):
        raise args.error()
    values: dict[str, int] = {}
    flags = found[1] or ""
    position = 0
    while flags[position:].strip():
        flag = _FLAG.match(flags, position)
        if flag is None:
            raise args.error()
        values[flag[1] or flag[2]] = session.evaluate(flag[3]) if flag[3] else 1
        position = flag.end()
    if "s" in values and "r" in values:
        raise args.error()
    args.position = found.end()
    return Options(
        kind=found[2] or "b",
        save="s" in values,
        again="r" in values,
        writable="w" in values,
        addresses_only="1" in values,
        most=values.get("n", SAVED),
        shortest=max(1, values.get("l", SHORTEST_STRING)),
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


def _show(session: Session, options: Options, found: Iterable[int]) -> Hits:
    layout = FORMATS[_SHOWN_AS[options.kind]]
    saving = _Saving(session, options)

    def shown() -> Iterator[Row]:
        for va in found:
            saving.note(va)
            yield from rows(session.memory, va, layout.columns, layout, layout.columns)

    hits = in_pieces(
        session, shown(), lambda found: Hits(options.kind, found, options.addresses_only)
    )
    return replace(hits, overflow=saving.overflow)


class _Saving:
    """With [s] the places found can be searched again, as many as there is room for."""

    def __init__(self, session: Session, options: Options) -> None:
        self._room = options.most if options.save else 0
        self._saves = options.save
        self._places: list[int] = []
        self.overflow = False
        if options.save:
            session.cursor.hits = self._places

    def note(self, va: int) -> None:
        if len(self._places) < self._room:
            self._places.append(va)
        else:
            self.overflow = self._saves


def _strings(session: Session, pieces: Iterable[tuple[int, int]], options: Options) -> FoundStrings:
    """Runs of printable characters, at least as long as asked for."""
    printable = rb"[\x20-\x7e\t]"
    unit = printable + rb"\x00" if options.kind == "su" else printable
    pattern = re.compile(rb"(?:%s){%d,}" % (unit, options.shortest))
    tail = re.compile(rb"(?:%s)+\Z" % unit)
    again = frozenset(session.cursor.hits) if options.again else None
    saving = _Saving(session, options)

    def found() -> Iterator[tuple[int, str]]:
        for start, end in pieces:
            for at, data in _runs(session, start, end, tail):
                for hit in pattern.finditer(data):
                    va = at + hit.start()
                    if again is None or va in again:
                        saving.note(va)
                        text = hit[0].decode("utf-16-le" if options.kind == "su" else "latin-1")
                        yield va, characters(text.encode("latin-1"))

    strings = in_pieces(session, found(), lambda rows: FoundStrings(rows, options.addresses_only))
    return replace(strings, overflow=saving.overflow)


def _runs(
    session: Session, start: int, end: int, tail: re.Pattern[bytes]
) -> Iterator[tuple[int, bytes]]:
    """The readable pieces; what `tail` finds at the end of one goes in front of the next."""
    held_at, held = 0, b""
    for at, data in readable(session.memory, start, end, session.check_interrupt):
        if held_at + len(held) != at:
            yield held_at, held
            held_at, held = at, b""
        first, joined = held_at, held + data
        found = tail.search(joined[-LONGEST_STRING:])
        cut = len(joined) - len(found[0]) if found else len(joined)
        yield first, joined[:cut]
        held_at, held = first + cut, joined[cut:]
    yield held_at, held
