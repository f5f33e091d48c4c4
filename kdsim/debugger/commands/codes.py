"""Numbers explained: `!error !ioctldecode !filetime !whattime`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger import times
from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.inspect import ioctl, status
from kdsim.debugger.text import signed

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

NTSTATUS_FLAG = 1
NO_TEXT = "<Unable to get error code text>"


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """A code with the table it was found in."""

    kind: str
    code: int
    name: str
    message: str

    def lines(self) -> list[str]:
        number = signed(self.code, 32) if self.kind == "Win32" else self.code
        # The decimal is left out where it would repeat the digit of a small NTSTATUS.
        decimal = "" if self.kind == "NTSTATUS" and self.code <= 9 else f" ({number})"
        return [f"Error code: ({self.kind}) 0x{self.code:x}{decimal} - {self.message}"]


@dataclass(frozen=True, slots=True)
class Moment:
    """A FILETIME and how it reads."""

    filetime: int
    text: str

    def lines(self) -> list[str]:
        return [self.text]


@dataclass(frozen=True, slots=True)
class Ticks:
    """Clock ticks and the time they take, in 100 ns."""

    ticks: int
    interval: int

    def lines(self) -> list[str]:
        days, clock = times.day_and_clock(self.interval)
        passed = f"{days} days {clock}" if days else f"{clock:>13}"
        return [f"{self.ticks} Ticks in Standard Time: {passed}s"]


@command(
    "!error",
    summary="What an error code means.",
    group="crash analysis",
    params=(
        Param("code", "expression", "Win32, NTSTATUS or HRESULT"),
        Param(
            "flag",
            "flags",
            "how to read it",
            optional=True,
            bits=((NTSTATUS_FLAG, "it is an NTSTATUS"),),
        ),
    ),
    needs=Caps.NONE,
    see_also=("!analyze", ".formats", "!ioctldecode"),
)
def error(session: Session, args: Arguments, name: str) -> ErrorCode:
    """From the tables in `inspect/status_codes.txt`."""
    code = args.expression() & 0xFFFF_FFFF
    flag = args.optional_expression(0)
    args.at_end()
    kind, found = _meaning(code, flag == NTSTATUS_FLAG)
    return ErrorCode(kind, code, found.name if found else "", found.message if found else NO_TEXT)


def _meaning(code: int, as_ntstatus: bool) -> tuple[str, status.StatusCode | None]:
    """The severity in the two highest bits tells the kinds apart, where it can."""
    if as_ntstatus or code >> 28 == 0xC:
        return "NTSTATUS", status.ntstatus(code)
    if code >> 16 == 0:
        return "Win32", status.win32(code)
    candidates = (("NTSTATUS", status.ntstatus), ("HRESULT", status.hresult))
    for kind, table in candidates:
        if (found := table(code)) is not None:
            return kind, found
    return ("HRESULT" if code >> 31 else "Win32"), None


@command(
    "!ioctldecode",
    summary="Take an I/O control code apart.",
    group="I/O",
    params=(Param("code", "expression"),),
    needs=Caps.NONE,
    see_also=("!error", ".formats"),
)
def decode_ioctl(session: Session, args: Arguments, name: str) -> ioctl.IoControlCode:
    """From the tables in `inspect/ioctl_codes.txt`."""
    code = args.expression() & 0xFFFF_FFFF
    args.at_end()
    return ioctl.decode(code)


@command(
    "!filetime",
    summary="A FILETIME as date and time of the local zone.",
    group="session",
    params=(Param("time", "expression", "100 ns units since 1601"),),
    needs=Caps.NONE,
    see_also=(".formats", "!whattime", ".time"),
)
def file_time(session: Session, args: Arguments, name: str) -> Moment:
    value = args.expression()
    args.at_end()
    return Moment(value, times.file_time(value))


@command(
    "!whattime",
    summary="Clock ticks as hours, minutes and seconds.",
    group="session",
    params=(Param("ticks", "expression"),),
    needs=Caps.READ,
    see_also=("!filetime", ".time"),
)
def what_time(session: Session, args: Arguments, name: str) -> Ticks:
    """How long a tick is, the kernel's `KeMaximumIncrement` says."""
    ticks = args.expression()
    args.at_end()
    increment = session.memory.u32(session.resolve_nt("nt!KeMaximumIncrement"))
    return Ticks(ticks, ticks * increment)
