"""What reaches the screen: `.outmask .ofilter .cls .beep .wtitle .locale`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.output import DEFAULT_MASK, Kind
from kdsim.debugger.settings import OutputFilter
from kdsim.errors import UserError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

ALL_KINDS = 0xFFFF_FFFF

_MEANINGS = {
    Kind.NORMAL: "normal output",
    Kind.ERROR: "errors",
    Kind.WARNING: "warnings",
    Kind.VERBOSE: "additional output",
    Kind.PROMPT: "prompts",
    Kind.REGISTERS: "registers before the prompt",
    Kind.EXTENSION_WARNING: "warnings of extensions",
    Kind.TARGET: "prints of the target (DbgPrint)",
    Kind.TARGET_PROMPT: "questions of the target (DbgPrompt)",
    Kind.SYMBOLS: "messages about symbols (!sym noisy)",
}


@dataclass(frozen=True, slots=True)
class OutputMask:
    mask: int
    log_mask: int

    def lines(self) -> list[str]:
        text = f"Output mask is {self.mask:X}"
        return [
            text if self.mask == self.log_mask else f"{text}, of the log file {self.log_mask:X}"
        ]


@command(
    ".outmask",
    ".outmask-",
    summary="Let kinds of output through (.outmask-: hide them); alone: show the mask.",
    group="session",
    params=(
        Param(
            "mask", "flags", "kinds of output", optional=True,
            bits=tuple((int(kind), meaning) for kind, meaning in _MEANINGS.items()),
        ),
    ),
    options=(
        Option("/l", "leave the log file's mask as it is"),
        Option("/a", "all kinds"),
        Option("/d", "the default, 0x3f7"),
    ),
    see_also=(".ofilter", ".logopen"),
)  # fmt: skip
def output_mask(session: Session, args: Arguments, name: str) -> OutputMask:
    given = args.switches("l", "a", "d")
    bits = args.optional_expression()
    args.at_end()
    if bits is not None and given.keys() & {"a", "d"}:
        raise args.error()
    out = session.out
    mask = out.mask
    if "a" in given or "d" in given:
        mask = ALL_KINDS if "a" in given else DEFAULT_MASK
    elif bits is not None:
        mask = mask & ~bits if name.endswith("-") else mask | bits
    out.mask = mask & ALL_KINDS
    if "l" not in given:
        out.log_mask = out.mask
    return OutputMask(out.mask, out.log_mask)


@dataclass(frozen=True, slots=True)
class TargetOutputFilter:
    pattern: str
    inverted: bool

    def lines(self) -> list[str]:
        if not self.pattern:
            return ["No target output filter"]
        what = "does not contain" if self.inverted else "contains"
        return [f"Only target output is shown that {what} '{self.pattern}'"]


@command(
    ".ofilter",
    summary='Show only what the target prints that contains a text; "" shows all again.',
    group="session",
    params=(Param("text", "pattern", "string wildcards, upper or lower case", optional=True),),
    options=(Option("/!", "show only what does not contain it"),),
    see_also=(".outmask",),
    examples=(".ofilter leaky:*buffer", '.ofilter ""'),
)
def filter_output(session: Session, args: Arguments, name: str) -> TargetOutputFilter:
    inverted = args.take("/!") is not None
    given = not args.done
    text = args.string() if args.peek().startswith('"') else args.rest()
    args.at_end()
    settings = session.settings
    if given:
        pattern = (text or "").upper()
        settings.output_filter = OutputFilter(pattern, inverted) if pattern else None
    elif inverted:
        raise args.error()
    current = settings.output_filter or OutputFilter("")
    return TargetOutputFilter(current.pattern, current.inverted)


_CLEAR = "\x1b[2J\x1b[H"
_BELL = "\a"


@command(
    ".cls",
    ".beep",
    ".wtitle",
    summary="Clear the terminal, sound its bell, or set its title.",
    group="session",
    params=(Param("title", "text", "of .wtitle", optional=True),),
)
def control_terminal(session: Session, args: Arguments, name: str) -> None:
    if name == ".wtitle":
        title = "".join(char for char in args.rest() if char.isprintable())
        text = f"\x1b]2;{title}\a"
    else:
        args.at_end()
        text = _CLEAR if name == ".cls" else _BELL
    if session.out.control is not None:
        session.out.control(text)


@dataclass(frozen=True, slots=True)
class Locale:
    locale: str

    def lines(self) -> list[str]:
        return [f"Locale: {self.locale}"]


@command(
    ".locale",
    summary="Show the locale: C. Text is shown as Unicode, so there is no other.",
    group="session",
    params=(Param("locale", "text", "C", optional=True),),
)
def show_locale(session: Session, args: Arguments, name: str) -> Locale:
    wanted = args.word()
    args.at_end()
    if wanted not in (None, "C"):
        raise UserError(f"Locale {wanted} is not available: text is always shown as Unicode")
    return Locale("C")
