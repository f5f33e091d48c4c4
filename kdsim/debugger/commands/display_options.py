"""What all display commands take in front of a range: `/c N`, `/p`; and where they go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.commands.registry import Option

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.memory import CachedMemory
    from kdsim.debugger.session import Session

CACHING = ("[uc]", "[wc]", "[c]")
"""How physical memory is cached; it makes no difference to a debugger's read of ours."""

PHYSICAL = Option("/p", "physical memory; /p[c] /p[uc] /p[wc] say how it is cached")
OPTIONS = (Option("/c", "so many columns", "<count>"), PHYSICAL)


@dataclass(frozen=True, slots=True)
class Options:
    """`columns` is None when the user did not say."""

    columns: int | None
    physical: bool

    def memory(self, session: Session) -> CachedMemory:
        return session.physical if self.physical else session.memory


def take_options(args: Arguments) -> Options:
    columns, physical = None, False
    while True:
        if args.take("/c"):
            columns = max(1, args.expression())
        elif not physical and args.take("/p"):
            physical = True
            take_caching(args)
        elif args.peek().startswith("/"):
            raise args.error()
        else:
            return Options(columns, physical)


def take_caching(args: Arguments) -> None:
    if args.peek().startswith("[") and args.take(*CACHING) is None:
        raise args.error()


def next_address(session: Session, address: int | None) -> int:
    """What the user wrote, or where the last listing ended, or the instruction pointer."""
    if address is not None:
        return address
    if session.cursor.data is not None:
        return session.cursor.data
    return session.version.kernel_base if session.local else session.instruction_pointer
