"""What can be switched on and off, and the state as a whole: `.push .pop`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.scope import SavedState
from kdsim.debugger.settings import SYMOPT_LOAD_LINES, TypeOption
from kdsim.errors import UserError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.language.typed import Typed
    from kdsim.debugger.session import Session

ON_OFF = Param("0|1", "text", "off, on; alone: the other way round", optional=True)


@dataclass(frozen=True, slots=True)
class Switch:
    """What a switch of two positions is now."""

    text: str
    on: bool

    def lines(self) -> list[str]:
        return [self.text]


def _position(args: Arguments, now: bool) -> bool:
    """`0`, `1`, or the other way round."""
    if args.done:
        return not now
    return zero_or_one(args)


def zero_or_one(args: Arguments) -> bool:
    """The only argument, `0` or `1`."""
    args.peek()
    column, word = args.position, args.word()
    args.at_end()
    if word not in ("0", "1"):
        raise args.error(column=column)
    return word == "1"


def _on_off(on: bool) -> str:
    return "on" if on else "off"


@command(
    ".echocpunum",
    summary="Show or hide the processor number in the prompt.",
    group="session",
    params=(ON_OFF,),
)
def echo_processor(session: Session, args: Arguments, name: str) -> Switch:
    on = session.settings.echo_processor = _position(args, session.settings.echo_processor)
    return Switch(f"CPU number echo is {_on_off(on)}", on)


@command(
    ".echotimestamps",
    summary="Begin the target's prints, module loads and stops with the time, or no longer.",
    group="session",
    params=(ON_OFF,),
    see_also=(".echotime", ".time"),
)
def echo_time_stamps(session: Session, args: Arguments, name: str) -> Switch:
    on = session.settings.time_stamps = _position(args, session.settings.time_stamps)
    return Switch(f"Event timestamps are now {'enabled' if on else 'disabled'}", on)


@command(
    ".prefer_dml",
    summary="Prefer output with links; accepted, a terminal shows plain text.",
    group="session",
    params=(ON_OFF,),
)
def prefer_markup(session: Session, args: Arguments, name: str) -> Switch:
    on = session.settings.prefer_dml = _position(args, session.settings.prefer_dml)
    return Switch(f"DML versions of commands {_on_off(on)} by default", on)


@command(
    ".ignore_missing_pages",
    summary="Pass over in silence what a dump does not hold.",
    group="session",
    params=(Param("0|1", "text", "no, yes; alone: show", optional=True),),
)
def ignore_missing_pages(session: Session, args: Arguments, name: str) -> Switch:
    settings = session.settings
    ignored = not settings.missing_pages
    if not args.done:
        ignored = _position(args, ignored)
        settings.missing_pages = not ignored
    return Switch(f"Missing page errors are {'ignored' if ignored else 'shown'}", ignored)


@command(
    "sq",
    "sqe",
    "sqd",
    summary="Quiet mode: no long message when you break in.",
    group="session",
    see_also=(".outmask", ".prompt_allow"),
)
def quiet(session: Session, args: Arguments, name: str) -> Switch:
    args.at_end()
    settings = session.settings
    settings.quiet = {"sqe": True, "sqd": False}.get(name, not settings.quiet)
    return Switch(f"Quiet mode is {'ON' if settings.quiet else 'OFF'}", settings.quiet)


@command(
    ".lines",
    summary="Switch the loading of source line numbers on or off; alone: the other way round.",
    group="session",
    options=(Option("-e", "on"), Option("-d", "off"), Option("-t", "the other way round")),
    see_also=(".symopt", "k"),
)
def lines(session: Session, args: Arguments, name: str) -> Switch:
    given = args.switches("e", "d", "t")
    args.at_end()
    settings = session.settings
    if "e" in given:
        settings.symbol_options |= SYMOPT_LOAD_LINES
    elif "d" in given:
        settings.symbol_options &= ~SYMOPT_LOAD_LINES
    else:
        settings.symbol_options ^= SYMOPT_LOAD_LINES
    will = "will" if settings.load_lines else "will not"
    return Switch(f"Line number information {will} be loaded", settings.load_lines)


@dataclass(frozen=True, slots=True)
class Failures:
    """Which failures are told of that listings otherwise pass over."""

    read: bool
    symbol: bool
    type: bool

    def lines(self) -> Iterator[str]:
        yield f"Read failures are {'shown' if self.read else 'not shown'}"
        yield f"Symbol lookup failures are {'shown' if self.symbol else 'not shown'}"
        yield f"Type lookup failures are {'shown' if self.type else 'not shown'}"


@command(
    ".show_read_failures",
    ".show_sym_failures",
    summary="Tell of failures that are otherwise passed over; alone: show what is told of.",
    group="session",
    options=(
        Option("/v", "tell of reads (.show_read_failures)"),
        Option("/V", "do not"),
        Option("/s", "tell of symbols (.show_sym_failures)"),
        Option("/S", "do not"),
        Option("/t", "tell of types (.show_sym_failures)"),
        Option("/T", "do not"),
    ),
)
def show_failures(session: Session, args: Arguments, name: str) -> Failures:
    letters = ("v", "V") if name == ".show_read_failures" else ("s", "S", "t", "T")
    given = args.switches(*letters)
    args.at_end()
    settings = session.settings
    fields = {"v": "read_failures", "s": "symbol_failures", "t": "type_failures"}
    for letter in given:
        setattr(settings, fields[letter.lower()], letter.islower())
    return Failures(settings.read_failures, settings.symbol_failures, settings.type_failures)


TYPE_OPTIONS = {
    "uni": (TypeOption.UNICODE, "16-bit arrays and pointers as Unicode strings"),
    "longst": (TypeOption.LONG_STATUS, "long integers in the current radix"),
    "radix": (TypeOption.FORCE_RADIX, "other integers in the current radix"),
    "size": (TypeOption.MATCH_SIZE, "the largest of several symbols of one name"),
}
_TYPE_SWITCHES = {
    ".enable_unicode": TypeOption.UNICODE,
    ".enable_long_status": TypeOption.LONG_STATUS,
    ".force_radix_output": TypeOption.FORCE_RADIX,
}


@dataclass(frozen=True, slots=True)
class TypeOptions:
    options: int

    def lines(self) -> Iterator[str]:
        yield f"Type options are 0x{self.options:x}:"
        for name, (bit, meaning) in TYPE_OPTIONS.items():
            if self.options & bit:
                yield f"  0x{bit:x} {name:6} - {meaning}"


@command(
    ".typeopt",
    summary="Show or change how dt and ?? show values.",
    group="types",
    params=(
        Param(
            "{+|-}option",
            "word",
            "one or more; or bits, +3: 1 uni, 2 longst, 4 radix, 8 size",
            optional=True,
            words=tuple((f"+{name}", meaning) for name, (_, meaning) in TYPE_OPTIONS.items()),
        ),
    ),
    see_also=("dt", "dv", ".enable_unicode"),
    examples=(".typeopt +uni", ".typeopt -2"),
)  # fmt: skip
def type_options(session: Session, args: Arguments, name: str) -> TypeOptions:
    settings = session.settings
    while not args.done:
        sign = args.take("+", "-")
        if sign is None:
            raise args.error()
        chosen = args.take(*TYPE_OPTIONS)
        bits = TYPE_OPTIONS[chosen][0] if chosen else TypeOption(args.expression() & 0xF)
        if sign == "+":
            settings.type_options |= bits
        else:
            settings.type_options &= ~bits
    return TypeOptions(int(settings.type_options))


@command(
    *_TYPE_SWITCHES,
    summary="Show 16-bit arrays as text, long integers, or other integers in the current radix.",
    group="types",
    params=(Param("0|1", "text", "off, on; alone: show", optional=True),),
    see_also=("dt", ".typeopt", "n"),
)
def type_switch(session: Session, args: Arguments, name: str) -> TypeOptions | None:
    settings, bit = session.settings, _TYPE_SWITCHES[name]
    if args.done:
        return TypeOptions(int(settings.type_options & bit))
    on = _position(args, bool(settings.type_options & bit))
    settings.type_options = settings.type_options | bit if on else settings.type_options & ~bit
    return None


KERNEL_OPTIONS = {
    "NOEXTWARNING": "pass over unknown extension commands",
    "NOVERSIONCHECK": "accepted: no extension has a version to check",
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """Options that are set, by name."""

    title: str
    options: tuple[str, ...]
    none: str

    def lines(self) -> list[str]:
        return [f"{self.title}: {' '.join(self.options) or self.none}"]


@command(
    "so",
    summary="Show or set the kernel debugging options.",
    group="session",
    params=(
        Param("option", "word", "one or more", optional=True, words=tuple(KERNEL_OPTIONS.items())),
    ),
)
def kernel_options(session: Session, args: Arguments, name: str) -> Chosen:
    settings = session.settings
    words = _words(args, KERNEL_OPTIONS)
    if words:
        settings.kernel_options = frozenset(words)
    options = tuple(option for option in KERNEL_OPTIONS if option in settings.kernel_options)
    return Chosen("Kernel debugging options", options, "<none>")


DISASSEMBLY_OPTIONS = {
    "ignore_output_width": "do not break long lines",
    "no_code_bytes": "without the bytes of the instructions",
    "source_line": "with the source line",
}


@command(
    ".asm",
    ".asm-",
    summary="Show or set (.asm-: clear) how instructions are shown.",
    group="memory",
    params=(
        Param(
            "option", "word", "one or more", optional=True, words=tuple(DISASSEMBLY_OPTIONS.items())
        ),
    ),
    see_also=("u",),
)
def disassembly_options(session: Session, args: Arguments, name: str) -> Chosen:
    settings = session.settings
    words = frozenset(_words(args, DISASSEMBLY_OPTIONS))
    if name == ".asm-":
        settings.disassembly -= words
    else:
        settings.disassembly |= words
    options = tuple(option for option in DISASSEMBLY_OPTIONS if option in settings.disassembly)
    return Chosen("Assembly options", options, "<default>")


def _words(args: Arguments, known: Iterable[str]) -> list[str]:
    """Option names in any case; SyntaxError at the first that is none."""
    found: list[str] = []
    while not args.done:
        column, word = args.position, args.word() or ""
        match = next((name for name in known if name.lower() == word.lower()), None)
        if match is None:
            raise args.error(column=column)
        found.append(match)
    return found


@command(
    ".push",
    ".pop",
    summary="Save (.push) or restore (.pop) the settings and the register context.",
    group="session",
    options=(Option("/r", "the registers $t0 to $t19 too"), Option("/q", "say nothing")),
    see_also=(".thread", "n", ".expr"),
)
def save_state(session: Session, args: Arguments, name: str) -> None:
    given = args.switches("r", "q")
    args.at_end()
    if name == ".push":
        session.saved.append(
            SavedState(
                dataclasses.replace(session.settings),
                dataclasses.replace(session.scope),
                session.event,
                _user_registers(args) if "r" in given else {},
            )
        )
        return
    if not session.saved:
        if "q" not in given:
            raise UserError("Unable to pop state: nothing is pushed")
        return
    state = session.saved.pop()
    session.settings = state.settings
    if state.event is session.event:
        # A context does not outlive the stop it belongs to.
        session.scope = state.scope
    if "r" in given:
        for register, value in state.registers.items():
            args.context.set_pseudo(register, value)


def _user_registers(args: Arguments) -> dict[str, Typed | int]:
    names = (f"$t{number}" for number in range(20))
    return {name: args.context.pseudo(name) or 0 for name in names}
