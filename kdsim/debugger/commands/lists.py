"""`!list` runs commands along a linked list."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import HELP_LETTER, Option, Param, command
from kdsim.debugger.inspect.nt import LIST_LIMIT
from kdsim.debugger.language.arguments import Arguments
from kdsim.debugger.language.numbers import without_quoting
from kdsim.errors import ArgumentError
from kdsim.symbols.types import Record

if TYPE_CHECKING:
    from kdsim.debugger.session import Session

DEFAULT_COMMAND = "dp"
ELEMENT = "@$extret"
_MENTIONED = re.compile(r"\$extret(?!\w)", re.IGNORECASE)
_TYPE_FIELD = re.compile(r"(?P<type>(?:\w+!)?\w+)\.(?P<field>[\w.]+)$")


@dataclass(frozen=True, slots=True)
class _Walk:
    """What the arguments ask for.

    Attributes:
        offset: of the pointer to follow.
        back: what to subtract to get from a link to its element.
    """

    start: int
    offset: int
    back: int
    commands: str
    echo: bool
    limit: int


@command(
    "!list",
    summary="Run commands for each element of a linked list.",
    group="lists",
    params=(Param("start", "expression", "address of the first element"),),
    options=(
        Option("-t", "the field to follow; without it the first pointer", "[module!]<type.field>"),
        Option("-x", "commands for each element; dp without", '"<commands>"'),
        Option("-a", "arguments that stand behind the address", '"<arguments>"'),
        Option("-m", "how many elements at most", "<count>"),
        Option("-e", "show the commands before they run"),
        HELP_LETTER,
    ),
    needs=Caps.READ,
    see_also=("dt", "dl"),
    examples=('!list -t nt!_LIST_ENTRY.Flink -x "dp" nt!PsActiveProcessHead',),
    notes="@$extret is the element's address; it stands behind commands that do not mention it.\n"
    'All arguments together may be in quotes, the commands then in \\".',
)
def show_list(session: Session, args: Arguments, name: str) -> None:
    """Follows one pointer field until NULL or the start; @$extret is the element's address."""
    if args.peek().startswith('"'):
        args = Arguments(args.commands(), args.context)
    walk = _arguments(session, args)
    element = walk.start
    for _ in range(walk.limit):
        session.check_interrupt()
        args.context.set_pseudo("$extret", element)
        if walk.echo:
            session.out.line(walk.commands)
        session.runner(walk.commands)
        session.out.line()
        element = session.memory.u64(element + walk.offset)
        element -= walk.back if element else 0
        if element in (0, walk.start):
            break


def _arguments(session: Session, args: Arguments) -> _Walk:
    given: dict[str, str] = {}
    while found := args.switches("t:", "x:", "a:", "m:", "e"):
        given |= found
    if args.done:
        raise ArgumentError("!list needs the address of the first element")
    start = args.expression()
    args.at_end()
    limit = LIST_LIMIT
    if "m" in given:
        # A word of its own: `-m 5 -e` is no subtraction.
        limit = Arguments(given["m"], args.context).expression()
    offset, back = _link(session, given.get("t", ""))
    return _Walk(start, offset, back, _commands(given), "e" in given, limit)


def _link(session: Session, text: str) -> tuple[int, int]:
    """(offset of the pointer to follow, distance of its link from the start of the element).

    `_LIST_ENTRY.Flink` leads from link to link; `_EPROCESS.ActiveProcessLinks.Flink` from the
    list entry inside one structure to the one inside the next.
    """
    if not text:
        return 0, 0
    match = _TYPE_FIELD.match(text)
    if match is None:
        raise ArgumentError(f"-t needs module!type.field, not '{text}'")
    record = session.symbols.type(match["type"])
    if not isinstance(record, Record):
        raise ArgumentError(f"{match['type']} is not a structure")
    try:
        offset = record.offset(match["field"])
        outer, _, inner = match["field"].rpartition(".")
        return offset, record.offset(outer) if inner and outer else 0
    except KeyError:
        raise ArgumentError(f"{match['type']} has no field {match['field']}") from None


def _commands(given: dict[str, str]) -> str:
    """`dd` with `-a "L2"` becomes `dd @$extret L2`."""
    text = without_quoting(given.get("x", "")) or DEFAULT_COMMAND
    arguments = given.get("a", "")
    if not _MENTIONED.search(f"{text} {arguments}"):
        text = f"{text} {ELEMENT}"
    return f"{text} {arguments}".rstrip()
