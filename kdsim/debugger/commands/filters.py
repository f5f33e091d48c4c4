"""`sx`, `sxe sxd sxn sxi sxr sx-`: what to do about events and exceptions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.events import Filter

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

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
    params=(Param("event", "text", "ld:leaky, av, c0000005, * ..."),),
    needs=Caps.RUN,
    see_also=("sx", "sxr"),
    notes='-c "commands" and -c2 "commands" run at the first and second chance; -h: handled.',
)
def change_filter(session: Session, args: Arguments, name: str) -> None:
    changes: dict[str, object] = {}
    if name[2] != "-":
        changes["mode"] = name[2]
    handled = False
    while (flag := args.take("-c2", "-c", "-h")) is not None:
        if flag == "-h":
            handled = True
        else:
            changes["second_command" if flag == "-c2" else "command"] = (
                args.string(escapes=True) or ""
            )
    column = args.position
    word = args.word()
    if word is None:
        raise args.error()
    args.at_end()
    event, _, argument = word.partition(":")
    known = session.filters.named(event)
    if handled or (known is not None and known.continue_name == event.lower()):
        changes = {k: v for k, v in changes.items() if k != "mode"} | {"handled": name[2] == "e"}
    if event.lower() in ("ld", "ud", "out"):
        changes["argument"] = argument
    if known is not None:
        session.filters.change(known.name, **changes)
        return
    try:
        code = int(event.removeprefix("0x"), session.settings.radix)
    except ValueError:
        raise args.error("Invalid event code: Syntax error", column) from None
    session.filters.change_code(code, **changes)


@command("sxr", summary="Set all events and exceptions back to the defaults.", group="execution")
def reset_filters(session: Session, args: Arguments, name: str) -> str:
    args.at_end()
    session.filters.reset()
    return "sx state reset to defaults"
