"""`!list` runs commands along a linked list; `!error` explains a code."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.inspect import status
from kdsim.debugger.inspect.nt import LIST_LIMIT
from kdsim.debugger.text import signed
from kdsim.errors import ArgumentError
from kdsim.symbols.types import Record

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

NTSTATUS_FLAG = 1
DEFAULT_COMMAND = "dp"
ELEMENT = "@$extret"
_TYPE_FIELD = re.compile(r"(?P<type>(?:\w+!)?\w+)\.(?P<field>[\w.]+)$")


@command(
    "!error",
    summary="What an error code means.",
    group="crash analysis",
    params=(
        Param("code", "expression"),
        Param("flag", "flags", "1: an NTSTATUS", optional=True),
    ),
    needs=Caps.NONE,
    see_also=("!analyze", ".formats"),
)
def error(session: Session, args: Arguments, name: str) -> list[str]:
    """From the tables in `inspect/status_codes.txt`."""
    code = args.expression() & 0xFFFF_FFFF
    flag = args.optional_expression(0)
    args.at_end()
    as_ntstatus = flag == NTSTATUS_FLAG or code >> 30 == 3
    found = status.ntstatus(code) if as_ntstatus else status.win32(code)
    if found is None and not as_ntstatus:
        found, as_ntstatus = status.ntstatus(code), status.ntstatus(code) is not None
    kind = "NTSTATUS" if as_ntstatus else "Win32"
    number = code if as_ntstatus else signed(code, 32)
    message = found.message if found else "<Unable to get error code text>"
    value = f"0x{code:x} ({number})" if code > 9 or not as_ntstatus else f"0x{code:x}"
    return [f"Error code: ({kind}) {value} - {message}"]


@command(
    "!list",
    summary="Run commands for each element of a linked list.",
    group="lists",
    params=(
        Param("options", "flags", '-t type.field, -x "commands", -a "arguments", -m count, -e'),
        Param("start", "expression", "address of the first element"),
    ),
    needs=Caps.READ,
    see_also=("dt", "dl"),
)
def show_list(session: Session, args: Arguments, name: str) -> None:
    """Follows one pointer field until NULL or the start; @$extret is the element's address."""
    if args.peek().startswith('"'):
        inner = args.string(escapes=True) or ""
        args.at_end()
        args = type(args)(inner, args.context)
    given, start = _list_arguments(args)
    offset, back = _link(session, given.get("t", ""))
    commands = _commands(given)
    limit = int(given["m"], 0) if "m" in given else LIST_LIMIT
    element = start
    for _ in range(limit):
        session.check_interrupt()
        args.context.set_pseudo("$extret", element)
        if "e" in given:
            session.out.line(commands)
        session.runner(commands)
        session.out.line()
        element = int.from_bytes(session.memory.read(element + offset, 8), "little")
        element -= back if element else 0
        if element in (0, start):
            return


def _list_arguments(args: Arguments) -> tuple[dict[str, str], int]:
    given: dict[str, str] = {}
    while True:
        found = args.switches("t:", "x:", "a:", "m:", "e")
        if not found:
            break
        given |= found
    if args.done:
        raise ArgumentError("!list needs the address of the first element")
    start = args.expression()
    given |= args.switches("t:", "x:", "a:", "m:", "e")
    args.at_end()
    return given, start


def _link(session: Session, text: str) -> tuple[int, int]:
    """(offset of the pointer to follow, what to subtract to get from a link to its element).

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
    text = given.get("x") or DEFAULT_COMMAND
    arguments = given.get("a", "")
    if arguments:
        text = f"{text} {arguments}"
    return text if ELEMENT in text or "$extret" in text else f"{text} {ELEMENT}"
