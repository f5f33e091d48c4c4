"""`.cache`: how target memory is cached while the target is stopped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.memory import LINE_SIZE
from kdsim.debugger.paging import PAGE_SIZE
from kdsim.debugger.threads import directory_base
from kdsim.errors import Unsupported

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

WORDS = {
    "hold": "keep the cache while the target runs",
    "unhold": "do not",
    "flushall": "forget everything",
    "flushu": "forget what lies in user memory, and what could not be read",
    "flush": "forget the page of the address that follows",
    "decodeptes": "read pages in transition",
    "nodecodeptes": "do not",
    "forcedecodeuser": "walk the page tables of the process for user memory",
    "forcedecodeptes": "walk them for all memory",
    "noforcedecodeuser": "have the target read user memory",
    "noforcedecodeptes": "have the target read all memory",
}


@dataclass(frozen=True, slots=True)
class CacheStatus:
    """Sizes in bytes; `regions` are the pieces that were read at once."""

    limit: int
    used: int
    regions: int
    hits: int
    misses: int
    held: bool
    decode_transition: bool
    forced: str
    directory_base: int | None

    def lines(self) -> Iterator[str]:
        total = self.hits + self.misses
        if self.limit:
            yield f"Max cache size is       : {self.limit} bytes (0x{self.limit // 1024:x} KB)"
            yield f"Total memory in cache   : {self.used} bytes (0x{self.used // 1024:x} KB)"
            yield f"Number of regions cached: {self.regions}"
            share = 100 * self.hits / total if total else 0
            yield f"    counts: {self.hits} cached/{self.misses} uncached, {share:.2f}% cached"
        else:
            yield "Cache is disabled"
        if self.held:
            yield "** Automatic cache flushing is disabled"
        if self.decode_transition:
            yield "** Transition PTEs are implicitly decoded"
        if self.forced:
            yield (
                f"** {self.forced} addresses are translated to physical addresses before access, "
                f"page directory base {self.directory_base:x}"
            )


@command(
    ".cache",
    summary="Show or change how target memory is cached while the target is stopped.",
    group="session",
    params=(Param("size or option", "word", "KB, or", optional=True, words=tuple(WORDS.items())),),
    needs=Caps.READ,
    see_also=(".process", ".context"),
    notes="Options that decode last until the target runs.",
)
def cache(session: Session, args: Arguments, name: str) -> CacheStatus:
    if session.dump:
        raise Unsupported(
            "Operation not supported by current debuggee error in '.cache': "
            "a crash dump does not change"
        )
    while not args.done:
        start = args.position
        word = (args.word() or "").lower()
        if word in WORDS:
            _obey(session, args, word)
        else:
            args.position = start
            session.memory.cache.most_lines = args.expression() * 1024 // LINE_SIZE
            session.memory.cache.clear()
    return _status(session)


def _obey(session: Session, args: Arguments, word: str) -> None:
    memory = session.memory
    match word:
        case "hold" | "unhold":
            memory.held = word == "hold"
        case "decodeptes" | "nodecodeptes":
            memory.decode_transition = word == "decodeptes"
            memory.cache.clear()
        case "forcedecodeuser" | "forcedecodeptes":
            base = directory_base(session, session.current_process())
            memory.select_process(base, decode_all=word == "forcedecodeptes")
        case "noforcedecodeuser" | "noforcedecodeptes":
            memory.select_process(None)
        case "flush":
            memory.cache.forget(args.address(), PAGE_SIZE)
        case "flushu":
            memory.cache.forget_doubtful()
        case "flushall":
            memory.cache.clear()
            session.physical.cache.clear()


def _status(session: Session) -> CacheStatus:
    memory = session.memory
    lines = memory.cache
    forced = "" if memory.process_cr3 is None else "All" if memory.decode_all else "User-mode"
    return CacheStatus(
        lines.most_lines * LINE_SIZE,
        len(lines) * LINE_SIZE,
        len(lines),
        lines.hits,
        lines.misses,
        memory.held,
        memory.decode_transition,
        forced,
        memory.process_cr3,
    )
