"""What a stop is called, what kd says about it, and which stops the user wants to see."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from kdsim.debugger.backends.base import ModuleEvent, StopEvent
from kdsim.debugger.settings import OutputFilter
from kdsim.debugger.text import address
from kdsim.errors import ArgumentError
from kdsim.symbols.wildcard import matches

EVENT_LOG_LIMIT = 1024
"""Characters `.eventlog` shows."""

STATUS_BREAKPOINT = 0x8000_0003
STATUS_SINGLE_STEP = 0x8000_0004
STATUS_ACCESS_VIOLATION = 0xC000_0005
STATUS_ASSERTION_FAILURE = 0xC000_0420


class BreakReason(Enum):
    """What RCX says at DbgBreakPointWithStatus (wdm.h, DBG_STATUS_*)."""

    CONTROL_C = 1
    SYSRQ = 2
    BUGCHECK_FIRST = 3
    BUGCHECK_SECOND = 4
    FATAL = 5
    DEBUG_CONTROL = 6
    WORKER = 7


@dataclass(frozen=True, slots=True)
class Filter:
    """One line of `sx`.

    Attributes:
        code: exception code, or None for an event that is no exception.
        mode: "e" break first chance, "d" second chance, "n" notify, "i" ignore.
        handled: continue as handled (`-h`).
        continue_name: the name that sets `handled` alone, for instance `bpec`.
        argument: restricts `ld` and `ud` to modules, `out` to text, by pattern.
    """

    name: str
    meaning: str
    code: int | None
    mode: str
    handled: bool = False
    argument: str = ""
    command: str = ""
    second_command: str = ""
    continue_name: str = ""

    @property
    def is_exception(self) -> bool:
        return self.code is not None or self.name == "*"

    def command_for(self, stop: StopEvent) -> str:
        """The command string of this chance."""
        return self.command if stop.first_chance else self.second_command

    def matches(self, text: str) -> bool:
        """Whether the argument, if there is one, fits a module's name or a text."""
        return not self.argument or matches(self.argument, text)


def _default_filters() -> tuple[Filter, ...]:
    events = (
        ("ct", "Create thread", "i"), ("et", "Exit thread", "i"),
        ("cpr", "Create process", "i"), ("epr", "Exit process", "i"),
        ("ld", "Load module", "n"), ("ud", "Unload module", "n"),
        ("ser", "System error", "i"), ("ibp", "Initial breakpoint", "i"),
        ("iml", "Initial module load", "i"), ("out", "Debuggee output", "i"),
    )  # fmt: skip
    exceptions = (
        ("av", "Access violation", 0xC000_0005, "e"),
        ("asrt", "Assertion failure", STATUS_ASSERTION_FAILURE, "e"),
        ("aph", "Application hang", 0xCFFF_FFFF, "e"),
        ("bpe", "Break instruction exception", STATUS_BREAKPOINT, "e"),
        ("eh", "C++ EH exception", 0xE06D_7363, "d"),
        ("clr", "CLR exception", 0xE043_4352, "d"),
        ("clrn", "CLR notification exception", 0xE044_4143, "d"),
        ("cce", "Control-Break exception", 0x4001_0008, "e"),
        ("dm", "Data misaligned", 0x8000_0002, "e"),
        ("dbce", "Debugger command exception", 0x4001_0009, "i"),
        ("gp", "Guard page violation", 0x8000_0001, "e"),
        ("ii", "Illegal instruction", 0xC000_001D, "d"),
        ("ip", "In-page I/O error", 0xC000_0006, "e"),
        ("dz", "Integer divide-by-zero", 0xC000_0094, "e"),
        ("c000008e", "Floating-point divide-by-zero", 0xC000_008E, "e"),
        ("iov", "Integer overflow", 0xC000_0095, "e"),
        ("ch", "Invalid handle", 0xC000_0008, "e"),
        ("lsq", "Invalid lock sequence", 0xC000_001E, "e"),
        ("isc", "Invalid system call", 0xC000_001C, "e"),
        ("3c", "Port disconnected", 0xC000_0037, "d"),
        ("svh", "Service hang", 0xEFFF_FFFF, "e"),
        ("sse", "Single step exception", STATUS_SINGLE_STEP, "e"),
        ("sbo", "Security check failure or stack buffer overrun", 0xC000_0409, "e"),
        ("sov", "Stack overflow", 0xC000_00FD, "e"),
        ("vs", "Verifier stop", 0xC000_0421, "e"),
        ("vcpp", "Visual C++ exception", 0x406D_1388, "i"),
        ("wkd", "Wake debugger", 0x8000_0007, "e"),
        ("rto", "Windows Runtime Originate Error", 0x4008_0201, "d"),
        ("rtt", "Windows Runtime Transform Error", 0x4008_0202, "d"),
        ("wob", "WOW64 breakpoint", 0x4000_001F, "e"),
        ("wos", "WOW64 single step exception", 0x4000_001E, "e"),
    )  # fmt: skip
    handled = {"bpe", "sse", "wob", "wos", "cce", "dbce", "clrn", "vcpp"}
    continues = {"bpe": "bpec", "sse": "ssec", "cce": "cc", "ch": "hc"}
    return tuple(Filter(name, meaning, None, mode) for name, meaning, mode in events) + tuple(
        Filter(name, meaning, code, mode, name in handled, continue_name=continues.get(name, ""))
        for name, meaning, code, mode in exceptions
    )


class EventFilters:
    """The `sx` settings."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """`sxr`."""
        self._by_name = {item.name: item for item in _default_filters()}
        self.other = Filter("*", "Other exception", None, "d")

    def __iter__(self) -> Iterator[Filter]:
        return iter(self._by_name.values())

    def __getitem__(self, name: str) -> Filter:
        return self._by_name[name]

    def breaks_at(self, name: str) -> bool:
        return self._by_name[name].mode == "e"

    def wants_output(self, text: str) -> bool:
        """Whether a print of the target is to stop it (`sxe out:pattern`)."""
        item = self._by_name["out"]
        return item.mode == "e" and any(map(item.matches, text.splitlines()))

    def named(self, name: str) -> Filter | None:
        """By its name, or by the name that sets how it is continued."""
        if name == "*":
            return self.other
        wanted = name.lower()
        return self._by_name.get(wanted) or next(
            (f for f in self if f.continue_name == wanted), None
        )

    def for_code(self, code: int) -> Filter:
        return next((f for f in self._by_name.values() if f.code == code), self.other)

    def change(self, name: str, **changes: object) -> Filter:
        """Change a filter by name or `*`; a number makes or changes a filter of that code."""
        old = self.named(name)
        if old is None:
            raise ArgumentError(f"Invalid exception/event '{name}'")
        new: Filter = replace(old, **changes)  # type: ignore[arg-type]
        if name == "*":
            self.other = new
        else:
            self._by_name[old.name] = new
        return new

    def change_code(self, code: int, **changes: object) -> Filter:
        """Change the filter of an exception code; a code without a name gets one."""
        known = next((f for f in self._by_name.values() if f.code == code), None)
        if known is None:
            known = Filter(f"{code:08x}", "Unknown exception", code, self.other.mode)
            self._by_name[known.name] = known
        return self.change(known.name, **changes)

    def module_filter(self, event: ModuleEvent, known_name: str = "") -> Filter:
        """The filter for a module event; one that is about another module only notifies.

        Args:
            event: the load or unload.
            known_name: of the module, for an unload notice without a path.
        """
        item = self._by_name["ud" if event.unload else "ld"]
        name = (event.path or known_name).replace("/", "\\").rsplit("\\", 1)[-1]
        spellings = (name, name.rpartition(".")[0], f"{event.base:x}")
        if any(map(item.matches, spellings)):
            return item
        return replace(item, mode="n", command="")


class EventLog:
    """What happened lately (`.eventlog`)."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=EVENT_LOG_LIMIT)

    def add(self, text: str) -> None:
        self._lines.append(text)

    def recent(self) -> list[str]:
        """The last lines that fit into `EVENT_LOG_LIMIT` characters, the oldest first."""
        lines: list[str] = []
        left = EVENT_LOG_LIMIT
        for line in reversed(self._lines):
            left -= len(line) + 1
            if left < 0:
                break
            lines.insert(0, line)
        return lines


def shown(text: str, only: OutputFilter | None) -> bool:
    """Whether `.ofilter` lets a print of the target through."""
    if only is None:
        return True
    return matches(f"*{only.pattern}*", text) != only.inverted


def exception_name(code: int) -> str:
    """`Access violation`."""
    return next((f.meaning for f in _default_filters() if f.code == code), "Unknown exception")


def exception_text(stop: StopEvent) -> str:
    """`Break instruction exception - code 80000003 (first chance)`."""
    chance = "first chance" if stop.first_chance else "!!! second chance !!!"
    return f"{exception_name(stop.code)} - code {stop.code:08x} ({chance})"


FIRST_CHANCE_NOTE = (
    "First chance exceptions are reported before any exception handling.",
    "This exception may be expected and handled.",
)


def _box(*lines: str) -> list[str]:
    stars = "*" * 79
    return [stars, *(f"*{line:<77}*" for line in lines), stars]


BREAK_IN_BOX = _box(
    "",
    "   You are seeing this message because you pressed either",
    "       CTRL+C (if you run console kernel debugger) or,",
    "       CTRL+BREAK (if you run GUI kernel debugger),",
    "   on your debugger machine's keyboard.",
    "",
    "                   THIS IS NOT A BUG OR A SYSTEM CRASH",
    "",
    ' If you did not intend to break into the debugger, press the "g" key, then',
    ' press the "Enter" key now.  This message might immediately reappear.  If it',
    ' does, press "g" and "Enter" again.',
    "",
)

BUGCHECK_BOX = _box("", "                        Bugcheck Analysis", "")

_FATAL = "A fatal system error has occurred."

_FIRST_TRY = "Debugger entered on first try; Bugcheck callbacks have not been invoked."


def bugcheck_lines(reason: BreakReason, code: int, parameters: tuple[int, ...]) -> list[str]:
    """What kd prints when a bug check stops the target: at the second break without the first's."""
    lines = [""]
    if reason is BreakReason.BUGCHECK_FIRST:
        lines += [_FATAL, _FIRST_TRY, ""]
    lines += [_FATAL, "", *BUGCHECK_BOX, ""]
    lines += ["Use !analyze -v to get detailed debugging information.", ""]
    arguments = ", ".join(f"{parameter:x}" for parameter in parameters)
    return [*lines, f"BugCheck {code:X}, {{{arguments}}}", ""]


def module_line(event: ModuleEvent) -> str:
    """``ModLoad: <start> <end>   name``."""
    if event.unload:
        return module_text(event)
    return f"ModLoad: {address(event.base)} {address(event.base + event.size)}   {event.path}"


def module_text(event: ModuleEvent) -> str:
    """``Load module <name> at <address>``."""
    what = "Unload" if event.unload else "Load"
    return f"{what} module {event.path} at {address(event.base)}"
