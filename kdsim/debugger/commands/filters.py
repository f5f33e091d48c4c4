"""`sx`, `sxe sxd sxn sxi sxr sx-`: what to do about events and exceptions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.events import Filter
from kdsim.debugger.language.commands import Message
from kdsim.debugger.language.problems import OVERFLOW

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

_WITH_ARGUMENT = ("ld", "ud", "out", "cpr", "epr")
_ACTIONS = {"e": "break", "d": "second-chance break", "n": "output", "i": "ignore"}


@dataclass(frozen=True, slots=True)
class FilterList:
    """The table of `sx`: events first, then exceptions."""

    events: tuple[Filter, ...]
    exceptions: tuple[Filter, ...]

    def lines(self) -> Iterator[str]:
        for item in self.events:
            suffix = f":{item.argument}" if item.argument else ""
            yield f"{item.name:>4}{suffix} - {item.meaning} - {_ACTIONS[item.mode]}"
            yield from _commands(item)
        yield ""
        for item in self.exceptions:
            if item.name == "*":
                yield ""
            yield from _exception_lines(item)
            yield from _commands(item)


def _exception_lines(item: Filter) -> Iterator[str]:
    action = _ACTIONS[item.mode]
    handled = "handled" if item.handled else "not handled"
    if item.continue_name:
        yield f"{item.name:>4} - {item.meaning} - {action}"
        yield f"{item.continue_name:>4} - {item.meaning} continue - {handled}"
    else:
        yield f"{item.name:>4} - {item.meaning} - {action} - {handled}"


def _commands(item: Filter) -> Iterator[str]:
    if item.command:
        yield f'       Command: "{item.command}"'
    if item.second_command:
        yield f'       Second command: "{item.second_command}"'


@command(
    "sx",
    summary="Show what the debugger does about each event and exception.",
    group="execution",
    see_also=("sxe", "sxd", "sxn", "sxi", "sxr"),
)
def show_filters(session: Session, args: Arguments, name: str) -> FilterList:
    args.at_end()
    filters = list(session.filters)
    return FilterList(
        tuple(item for item in filters if item.code is None),
        tuple(item for item in [*filters, session.filters.other] if item.code or item.name == "*"),
    )


@command(
    "sxe",
    "sxd",
    "sxn",
    "sxi",
    "sx-",
    summary="Break at once (sxe), at the second chance (sxd), only say so (sxn), or ignore (sxi).",
    group="execution",
    params=(Param("event", "event", "ld:leaky, av, c0000005, * ..."),),
    options=(
        Option("-c", "to run at the first chance, whatever else is done", '"<commands>"'),
        Option("-c2", "to run at the second chance", '"<commands>"'),
        Option("-h", "set whether it counts as handled: sxe yes, the others no"),
    ),
    needs=Caps.RUN,
    see_also=("sx", "sxr"),
    notes="sx- changes the commands only. cc, hc, bpec and ssec set what -h sets.",
    examples=("sxe ld:leaky", 'sxe -c ".echo stopped; g" av', "sxd c0000094"),
)
def change_filter(session: Session, args: Arguments, name: str) -> None:
    changes: dict[str, object] = {}
    sets_handled = False
    while (flag := args.take("-c2", "-c", "-h")) is not None:
        if flag == "-h":
            sets_handled = True
        else:
            text = args.string(escapes=True)
            if text is None:
                raise args.error()
            changes["second_command" if flag == "-c2" else "command"] = text
    column = args.position
    event, argument = _event(args)
    known = session.filters.named(event)
    if known is not None and known.continue_name == event.lower():
        sets_handled = True
    if name != "sx-" and sets_handled:
        # Events that are no exceptions are neither handled nor unhandled.
        changes |= {"handled": name == "sxe"} if known is None or known.is_exception else {}
    elif name != "sx-":
        changes["mode"] = name[2]
    if event.lower() in _WITH_ARGUMENT and not sets_handled:
        changes["argument"] = argument
    if known is not None:
        session.filters.change(known.name, **changes)
        return
    try:
        code = int(event.removeprefix("0x"), 16 if event[:2] == "0x" else session.settings.radix)
    except ValueError:
        raise args.error("Invalid event code: Syntax error", column) from None
    if code >> 32:
        raise args.error(OVERFLOW, column)
    session.filters.change_code(code, **changes)


def _event(args: Arguments) -> tuple[str, str]:
    """A name or number, and the module or text behind a colon or blank."""
    word = args.word()
    if word is None:
        raise args.error()
    event, colon, argument = word.partition(":")
    takes_argument = event.lower() in _WITH_ARGUMENT
    if takes_argument and not colon:
        argument = args.word() or ""
    elif colon and not takes_argument:
        raise args.error(column=args.position - len(argument) - 1)
    args.at_end()
    return event, argument


@command(
    "sxr",
    summary="Set all events and exceptions back to the defaults.",
    group="execution",
    see_also=("sx", "sxe"),
)
def reset_filters(session: Session, args: Arguments, name: str) -> Message:
    args.at_end()
    session.filters.reset()
    return Message("sx state reset to defaults")
