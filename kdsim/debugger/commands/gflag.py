"""`!gflag` and `!dbgprint`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import ArgumentError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

# The table of the `!gflag` page: bit -> abbreviation, meaning. Bits without a name are unused.
FLAGS = {
    0x00000001: ("soe", "Stop on exception"),
    0x00000002: ("sls", "Show loader snaps"),
    0x00000004: ("dic", "Debug initial command"),
    0x00000008: ("shg", "Stop if the GUI stops responding"),
    0x00000010: ("htc", "Enable heap tail checking"),
    0x00000020: ("hfc", "Enable heap free checking"),
    0x00000040: ("hpc", "Enable heap parameter checking"),
    0x00000080: ("hvc", "Enable heap validation on call"),
    0x00000100: ("ptc", "Enable pool tail checking"),
    0x00000200: ("pfc", "Enable pool free checking"),
    0x00000400: ("ptg", "Enable pool tagging"),
    0x00000800: ("htg", "Enable heap tagging"),
    0x00001000: ("ust", "Create user mode stack trace DB"),
    0x00002000: ("kst", "Create kernel mode stack trace DB"),
    0x00004000: ("otl", "Maintain a list of objects for each type"),
    0x00008000: ("htd", "Enable heap tagging by DLL"),
    0x00010000: ("idp", "Unused"),
    0x00020000: ("d32", "Enable debugging of Win32 subsystem"),
    0x00040000: ("ksl", "Enable loading of kernel debugger symbols"),
    0x00080000: ("dps", "Disable paging of kernel stacks"),
    0x00100000: ("scb", "Enable critical system breaks"),
    0x00200000: ("dhc", "Disable heap coalesce on free"),
    0x00400000: ("ece", "Enable close exception"),
    0x00800000: ("eel", "Enable exception logging"),
    0x01000000: ("eot", "Enable object handle type tagging"),
    0x02000000: ("hpa", "Put heap allocations at ends of pages"),
    0x04000000: ("dwl", "Debug WINLOGON"),
    0x08000000: ("ddp", "Disable kernel mode DbgPrint and KdPrint output"),
    0x20000000: ("sue", "Stop on unhandled user-mode exception"),
    0x80000000: ("dpd", "Disable protected DLL verification"),
}
_CHANGE = re.compile(r"([+-]?)(?:0x)?(\w+)$")


@dataclass(frozen=True, slots=True)
class GlobalFlags:
    """nt!NtGlobalFlag."""

    value: int
    changed: bool

    def lines(self) -> Iterator[str]:
        word = "New" if self.changed else "Current"
        yield f"{word} NtGlobalFlag contents: 0x{self.value:08x}"
        for bit, (name, meaning) in FLAGS.items():
            if self.value & bit:
                yield f"    {name} - {meaning}"


@command(
    "!gflag",
    summary="The global flags.",
    group="system",
    params=(
        Param(
            "[+|-]flags",
            "flags",
            "bits; or a sign and an abbreviation, +ptg",
            optional=True,
            bits=tuple((bit, f"{word}: {meaning}") for bit, (word, meaning) in FLAGS.items()),
        ),
    ),
    needs=Caps.READ,
    see_also=("!object",),
)
def gflag(session: Session, args: Arguments, name: str) -> GlobalFlags:
    """Reads and writes nt!NtGlobalFlag."""
    text = args.rest().replace(" ", "")
    nt = Nt(session.symbols, session.memory)
    value = nt.u32("NtGlobalFlag")
    if not text:
        return GlobalFlags(value, changed=False)
    found = _CHANGE.match(text)
    if found is None:
        raise ArgumentError(f"'{text}' is no flag")
    sign, word = found.groups()
    bits = _bits(word, sign)
    if sign == "+":
        value |= bits
    elif sign == "-":
        value &= ~bits
    else:
        value = bits
    session.memory.write(nt.address("NtGlobalFlag"), (value & 0xFFFFFFFF).to_bytes(4, "little"))
    return GlobalFlags(nt.u32("NtGlobalFlag"), changed=True)


def _bits(word: str, sign: str) -> int:
    """An abbreviation, which needs a sign, or a hexadecimal number."""
    for bit, (name, _) in FLAGS.items():
        if name == word.lower():
            if not sign:
                raise ArgumentError(f"say +{name} to set the flag, -{name} to clear it")
            return bit
    try:
        value = int(word, 16)
    except ValueError:
        raise ArgumentError(f"'{word}' is no flag; !gflag -? lists them") from None
    if value >> 32:
        raise ArgumentError("the global flags have 32 bits")
    return value


@dataclass(frozen=True, slots=True)
class PrintedText:
    """The text in the kernel's buffer, oldest first."""

    buffer: int
    size: int
    text: str

    def lines(self) -> list[str]:
        return self.text.splitlines()


@command(
    "!dbgprint",
    summary="What was printed with DbgPrint.",
    group="system",
    needs=Caps.READ,
    see_also=(".lastevent",),
)
def dbgprint(session: Session, args: Arguments, name: str) -> PrintedText:
    """Reads nt!KdPrintCircularBuffer from its oldest character on."""
    args.at_end()
    nt = Nt(session.symbols, session.memory)
    start, size = nt.pointer("KdPrintCircularBuffer"), nt.u32("KdPrintBufferSize")
    written = nt.pointer("KdPrintWritePointer") - start
    if not 0 <= written <= size:
        raise ArgumentError("nt!KdPrintWritePointer does not point into the buffer")
    data = session.memory.read(start, size)
    older = data[written:] if nt.u32("KdPrintRolloverCount") else b""
    text = (older + data[:written]).replace(b"\0", b"")
    return PrintedText(start, size, text.decode("latin-1"))
