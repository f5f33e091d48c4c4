"""`!poolfind`: every block with a tag, printed as it is found."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.listing import as_found
from kdsim.debugger.commands.pool import block_line
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.inspect import heaps, pool
from kdsim.debugger.inspect.nt import Nt
from kdsim.debugger.language.numbers import without_quoting
from kdsim.errors import ArgumentError, MemoryFault

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

SESSION_TYPE = 4
# Pool type of the command -> its name, the heaps it means.
POOLS: dict[int, tuple[str, tuple[int, ...]]] = {
    0: ("NonPaged", (heaps.NONPAGED, heaps.NONPAGED_NX)),
    1: ("Paged", (heaps.PAGED,)),
    2: ("Special", (pool.SPECIAL,)),
    SESSION_TYPE: ("Session", ()),
}
TAG_LENGTH = 4
# The debuggers of today call the pool by its name and take a command for each block.
SWITCHES = {"nonpaged": 0, "paged": 1, "session": SESSION_TYPE}
_POOL_SWITCH = re.compile(rf"(?:^|\s)-({'|'.join(SWITCHES)})(?=\s|$)", re.IGNORECASE)
_TAG_SWITCH = re.compile(r"(?:^|\s)-tag\s+", re.IGNORECASE)
_COMMANDS = re.compile(r'(?:^|\s)-x\s+"((?:\\.|[^"\\])*)"\s?', re.IGNORECASE)
POOL = Param(
    "pool",
    "word",
    "which, 0 when left out",
    optional=True,
    words=(("0", "nonpaged"), ("1", "paged"), ("2", "special"), ("4", "session")),
)


@dataclass(frozen=True, slots=True)
class PoolBlocks:
    blocks: tuple[heaps.PoolBlock, ...]

    def lines(self) -> Iterator[str]:
        yield from map(block_line, self.blocks)


@command(
    "!poolfind",
    summary="All blocks with a tag.",
    group="pool",
    params=(
        Param("tag", "text", "four characters (* and ? match), or 0x and the tag's value"),
        POOL,
    ),
    options=(
        Option("-nonpaged", "search nonpaged pool, as without an option"),
        Option("-paged", "search paged pool"),
        Option("-session", "search session pool"),
        Option("-tag", "what follows is the tag"),
        Option("-x", "run them for each block; @$extret is where its data begins", '"<commands>"'),
    ),
    needs=Caps.READ,
    see_also=("!poolused", "!pool"),
    examples=('!poolfind "Abc "', '!poolfind Proc -x "dt nt!_OBJECT_HEADER @$extret"'),
)
def poolfind(session: Session, args: Arguments, name: str) -> PoolBlocks:
    """Reads: nt!PoolBigPageTable, nt!ExPoolState's heaps."""
    request = _arguments(args.raw())
    nt = Nt(session.symbols, session.memory)
    blocks = search(session, nt, request.tag, request.pool)
    if request.commands:
        _for_each(session, args, blocks, request.commands)
        return PoolBlocks(())
    with session.progress("Searching pool"):
        found = as_found(session, blocks, PoolBlocks)
    session.out.line()
    return found


def _for_each(
    session: Session, args: Arguments, blocks: Iterator[heaps.PoolBlock], commands: str
) -> None:
    """`-x`: the commands see where a block's data begins; big ones have no header."""
    header = session.symbols.record("nt!_POOL_HEADER").size
    for block in blocks:
        session.check_interrupt()
        session.out.line(block_line(block))
        args.context.set_pseudo("$extret", block.address + (0 if block.big else header))
        session.runner(commands)
        session.out.line()


def search(
    session: Session, nt: Nt, wanted: str | int, kind: int, restart: int = 0
) -> Iterator[heaps.PoolBlock]:
    """The blocks of a pool type with a tag; says where it searches, and where it was broken off."""
    word, indexes = _pool(nt, kind)
    out = session.out
    matcher = pool.TagMatcher(wanted)
    literal = pool.tag_bytes(wanted)
    label = wanted if isinstance(wanted, str) else pool.tag_text(wanted)
    if kind != pool_type("Special"):
        table, end = pool.big_table(nt)
        out.line()
        out.line(
            f"Scanning large pool allocation table for Tag: {label} ({table:016x} : {end:016x})"
        )
        out.line()
        for block in pool.big_blocks(nt):
            if block.heap in indexes and matcher[block.tag]:
                yield block
    for region in pool.regions(nt, indexes):
        span = f"({region.start:016x} : {region.end:016x})"
        out.line(f"Searching {word} pool {span} for Tag: {label}")
        out.line()
        for piece in region.pieces:
            if piece.start + piece.size <= restart:
                continue
            _check(session, piece.start)
            if literal and not _possible(session, piece, literal):
                continue
            try:
                yield from region.walker.tagged(piece, matcher)
            except MemoryFault as error:
                out.line(str(error))


def _possible(session: Session, piece: heaps.Range, patterns: tuple[bytes, ...]) -> bool:
    """Whether any of the patterns may be in a run; the target looks for itself where it can.

    That costs a request a pattern, reading the run one a kilobyte.
    """
    end = piece.start + piece.size
    return any(
        session.memory.rule_out(piece.start, piece.size, pattern) < end for pattern in patterns
    )


def pool_type(word: str) -> int:
    return next(kind for kind, (name, _) in POOLS.items() if name == word)


def _check(session: Session, reached: int) -> None:
    """`check_interrupt`, with a last word before the search ends."""
    try:
        session.check_interrupt()
    except KeyboardInterrupt:
        session.out.line(f"...terminating - searched pool to {reached:016x}")
        raise


def _pool(nt: Nt, kind: int) -> tuple[str, tuple[int, ...]]:
    if kind not in POOLS:
        raise ArgumentError("pool types are 0 nonpaged, 1 paged, 2 special, 4 session")
    if kind == SESSION_TYPE:
        raise ArgumentError("there is no session pool on this machine")
    if kind == pool_type("Special") and not heaps.special_heaps(nt):
        raise ArgumentError("there is no special pool on this machine")
    return POOLS[kind]


@dataclass(frozen=True, slots=True)
class _Request:
    tag: str | int
    pool: int
    commands: str


def _arguments(text: str) -> _Request:
    """The options may stand in front of the tag or behind it."""
    commands = _COMMANDS.search(text)
    text = _COMMANDS.sub(" ", text).lstrip() if commands else text
    switch = _POOL_SWITCH.search(text)
    text = _TAG_SWITCH.sub("", _POOL_SWITCH.sub("", text))
    tag, pool = _tag_and_pool(text.lstrip() if switch and switch.start() == 0 else text)
    if switch:
        pool = SWITCHES[switch[1].lower()]
    return _Request(tag, pool, without_quoting(commands[1]) if commands else "")


def _tag_and_pool(text: str) -> tuple[str | int, int]:
    """Tag and pool type; a tag may hold blanks (`Abc `) and only lower-case 0x starts a number."""
    if not text.strip():
        raise ArgumentError("!poolfind needs a tag of four characters, or 0x and its value")
    if text.startswith("0x"):
        number, _, kind = text.partition(" ")
        return pool.unprotected(_hex(number)), _hex(kind.strip() or "0")
    if text.startswith('"'):
        tag, _, kind = text[1:].partition('"')
    elif "*" in text:
        tag, _, kind = text.partition(" ")
    else:
        tag, kind = text[:TAG_LENGTH].ljust(TAG_LENGTH), text[TAG_LENGTH:]
        if not tag.endswith(" ") and kind[:1].strip():
            raise ArgumentError(f"'{text.split()[0]}' is no tag: a tag has four characters")
    return tag, _hex(kind.strip() or "0")


def _hex(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        raise ArgumentError(f"'{text}' is not a number") from None
