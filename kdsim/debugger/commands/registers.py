"""`r`, `rm`, `rdmsr`, `wrmsr`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.edit import INPUT
from kdsim.debugger.commands.registers_vector import (
    EXTENDED_BITS,
    XMM_BITS,
    extended_text,
    extended_value,
    float_lines,
    typed_text,
)
from kdsim.debugger.commands.registry import Param, command, require
from kdsim.debugger.registers import SLOTS, RegisterFile, slot_of
from kdsim.debugger.text import address as tick
from kdsim.errors import ArgumentError, KdsimError, Unsupported

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

INTEGER_32, INTEGER_64, FLOAT, SEGMENTS = 0x1, 0x2, 0x4, 0x8
MMX, DEBUG, XMM, CONTROL, DESCRIPTORS, XMM_INTEGERS = 0x10, 0x20, 0x40, 0x80, 0x100, 0x800

MASKS = (
    (INTEGER_32, "Integer state (32-bit) or"),
    (INTEGER_64, "Integer state (64-bit)"),
    (FLOAT, "Floating-point state"),
    (SEGMENTS, "Segment registers"),
    (MMX, "MMX registers"),
    (DEBUG, "Debug registers and, in kernel, CR4"),
    (XMM, "SSE XMM registers"),
    (CONTROL, "Control registers"),
    (DESCRIPTORS, "Descriptor and task state"),
    (XMM_INTEGERS, "AVX XMM Integer registers"),
)
KNOWN_MASK = sum(bit for bit, _ in MASKS)

GROUPS = {
    "rF": FLOAT, "rX": XMM, "rY": 0x200, "rYI": 0x400, "rZ": 0x1000, "rZI": 0x2000, "rK": 0x4000,
}  # fmt: skip
"""Masks of the commands with a letter."""

# Status pairs in the order `r` shows them: flag, clear, set.
_STATUS = (
    ("of", "nv", "ov"),
    ("df", "up", "dn"),
    ("if", "di", "ei"),
    ("sf", "pl", "ng"),
    ("zf", "nz", "zr"),
    ("af", "na", "ac"),
    ("pf", "po", "pe"),
    ("cf", "nc", "cy"),
)
_GENERAL_ROWS = (
    ("rax", "rbx", "rcx"),
    ("rdx", "rsi", "rdi"),
    ("rip", "rsp", "rbp"),
    ("r8", "r9", "r10"),
    ("r11", "r12", "r13"),
    ("r14", "r15"),
)
_DUMPED = (
    *(name for row in _GENERAL_ROWS for name in row),
    *("efl", "cs", "ss", "ds", "es", "fs", "gs"),
)
# Longest names first, so that `raxx` is no `rax` with a tail.
_NAMES = "|".join(sorted(SLOTS, key=len, reverse=True))
GLUED = rf"(?:{_NAMES})(?![A-Za-z0-9_])|\$"
_NAME = re.compile(r"@?(\$?[A-Za-z0-9_.]+)")
_TYPE = re.compile(r":(\d*)(ib|ub|iw|uw|id|ud|iq|uq|f|d)\b")


def register_lines(registers: RegisterFile, mask: int) -> list[str]:
    """The register display, as far as the mask asks for it."""
    lines: list[str] = []
    if mask & (INTEGER_64 | INTEGER_32):
        lines += (
            " ".join(f"{name:>3}={registers[name]:016x}" for name in row) for row in _GENERAL_ROWS
        )
        status = " ".join(on if registers[flag] else off for flag, off, on in _STATUS)
        lines.append(f"iopl={registers['iopl']}         {status}")
    if mask & SEGMENTS:
        segments = "  ".join(
            f"{n}={registers[n]:04x}" for n in ("cs", "ss", "ds", "es", "fs", "gs")
        )
        lines.append(f"{segments}             efl={registers['efl']:08x}")
    return lines + _extra_lines(registers, mask)


def _extra_lines(registers: RegisterFile, mask: int) -> list[str]:
    lines: list[str] = []
    if mask & FLOAT:
        lines += float_lines(registers)
    if mask & MMX:
        lines += _pairs([(f"mm{n}", registers[f"mm{n}"], 16) for n in range(8)])
    for bit, kind in ((XMM, "f"), (XMM_INTEGERS, "ud")):
        if mask & bit:
            lines += [f"xmm{n}={typed_text(registers[f'xmm{n}'], 128, kind)}" for n in range(16)]
    if mask & DEBUG:
        names = ("dr0", "dr1", "dr2", "dr3", "dr6", "dr7", "cr4")
        lines += _pairs([(n, registers[n], 16) for n in names], columns=3)
    if mask & CONTROL:
        lines += _pairs([(n, registers[n], 16) for n in ("cr0", "cr2", "cr3", "cr8")], columns=3)
    if mask & DESCRIPTORS:
        lines.append(
            f"gdtr={registers['gdtr']:016x}   gdtl={registers['gdtl']:04x} "
            f"idtr={registers['idtr']:016x}   idtl={registers['idtl']:04x} "
            f"tr={registers['tr']:04x}  ldtr={registers['ldtr']:04x}"
        )
    return lines


def _pairs(values: list[tuple[str, int, int]], columns: int = 2) -> list[str]:
    cells = [f"{name}={value:0{width}x}" for name, value, width in values]
    return [" ".join(cells[i : i + columns]) for i in range(0, len(cells), columns)]


def session_register_lines(session: Session, mask: int | None = None) -> list[str]:
    """Registers of the scope by the session's mask."""
    return register_lines(
        session.registers, session.settings.register_mask if mask is None else mask
    )


@dataclass(frozen=True, slots=True)
class RegisterDump:
    """All registers of a mask; `text` is their display."""

    text: tuple[str, ...]
    values: dict[str, int]

    def lines(self) -> Iterator[str]:
        yield from self.text


class RegisterValue(NamedTuple):
    name: str
    value: int
    text: str


@dataclass(frozen=True, slots=True)
class RegisterValues:
    """Registers that were named, on one line."""

    registers: tuple[RegisterValue, ...]
    _gap: str = " "

    def lines(self) -> Iterator[str]:
        if self.registers:
            yield self._gap.join(f"{item.name}={item.text}" for item in self.registers)


@command(
    "r",
    summary="Show or set registers, flags and pseudo-registers.",
    group="registers",
    params=(Param("register", "register", "one or more, reg=value to set", optional=True),),
    needs=Caps.READ,
    glued=GLUED,
    processor_prefix=True,
    see_also=("rm", "k", ".trap", ".cxr"),
    notes="rM <mask> shows the groups of a mask, as rm lists them. r? $t0 = <expr> keeps the type.",
)
def registers(session: Session, args: Arguments, name: str) -> RegisterDump | RegisterValues | None:
    if not args.peek().startswith(("$", "@$", "?")):
        # The variables of the debugger itself are there without a processor to look at.
        require(Caps.REGISTERS, name, session.backend.caps, session.backend.refusals)
    if args.done:
        return _all(session, session.settings.register_mask)
    if args.take("."):
        if args.text[: args.position].endswith(" ."):
            # `r.` is a command; `.` is RIP, which `r` does not take under that name.
            raise args.error("Bad register error", args.position - 1)
        args.at_end()
        return _instruction_registers(session)
    if args.take("?"):
        _set_typed(args)
        return None
    return _each(session, args)


def _each(session: Session, args: Arguments) -> RegisterValues | None:
    """The registers that are named, shown in one line or set."""
    shown: list[RegisterValue] = []
    while not args.done:
        found = _one(session, args)
        if found is not None:
            shown.append(found)
    return RegisterValues(tuple(shown)) if shown else None


@command(
    "rM",
    *GROUPS,
    summary="Show the registers of a mask (rM), the floating-point ones (rF), the XMM ones (rX).",
    group="registers",
    params=(
        Param("mask", "expression", "rM: bits as rm lists them", optional=True),
        Param("register", "register", "one or more, reg=value to set", optional=True),
    ),
    needs=Caps.REGISTERS,
    processor_prefix=True,
    see_also=("r", "rm"),
    notes="rY, rYI, rZ, rZI and rK: AVX registers, which the debugger connection does not carry.",
)
def registers_by_mask(
    session: Session, args: Arguments, name: str
) -> RegisterDump | RegisterValues | None:
    mask = GROUPS.get(name) or args.expression()
    if not args.done:
        return _each(session, args)
    ignored = mask & ~KNOWN_MASK
    if ignored:
        session.out.line(f"Ignored invalid bits {ignored:x}")
    return _all(session, mask & KNOWN_MASK) if mask & KNOWN_MASK or not ignored else None


def _all(session: Session, mask: int) -> RegisterDump:
    shown = register_dump(session, session.registers, mask)
    if session.scope.is_default:
        return shown
    return RegisterDump(("Last set context:", *shown.text), shown.values)


def register_dump(session: Session, found: RegisterFile, mask: int | None = None) -> RegisterDump:
    """Registers by a mask, or the session's, and the instruction they point to."""
    text = register_lines(found, session.settings.register_mask if mask is None else mask)
    text += session.disassembler.location(found["rip"], registers=found)
    return RegisterDump(tuple(text), {name: found[name] for name in _DUMPED})


def _one(session: Session, args: Arguments) -> RegisterValue | None:
    """One `reg`, `reg:type`, `reg=value` or `reg=`.

    The manual permits no `@` in front of it, but kd lets it pass and many a script has it.
    """
    found = _NAME.match(args.peek())
    if found is None:
        raise args.error()
    column, name = args.position, found[1].lower()
    args.position += found.end()
    kind = _TYPE.match(args.text, args.position)
    if kind:
        args.position = kind.end()
    if args.take("="):
        _assign(session, args, name, column)
        return None
    if name.startswith("$"):
        value = _pseudo(args, name, column)
        return RegisterValue(name, value, f"{value:016x}")
    _check(args, name, column)
    value = session.registers[name]
    if kind:
        text = typed_text(value, slot_of(name).bits, kind[2], int(kind[1] or 0))
        return RegisterValue(name, value, text)
    return RegisterValue(name, value, _value_text(name, value))


def _value_text(name: str, value: int) -> str:
    bits = slot_of(name).bits
    if bits == XMM_BITS:
        return typed_text(value, bits, "f")
    if bits == EXTENDED_BITS:
        return (
            f"{extended_text(value)} ({value >> 79:x}:{value >> 64 & 0x7FFF:04x}:"
            f"{value & (1 << 64) - 1:016x})"
        )
    return f"{value:x}" if bits <= 2 else f"{value:0{-(-bits // 4)}x}"


def _check(args: Arguments, name: str, column: int) -> None:
    try:
        slot_of(name)
    except ArgumentError:
        raise args.error("Bad register error", column) from None


def _pseudo(args: Arguments, name: str, column: int) -> int:
    value = args.context.pseudo(name)
    if value is None:
        raise args.error("Bad register error", column)
    return value if isinstance(value, int) else value.number()


def _assign(session: Session, args: Arguments, name: str, column: int) -> None:
    if name == "$ip":
        name = "rip"
    if name.startswith("$"):
        old = _pseudo(args, name, column)
        args.context.set_pseudo(name, _new_value(session, args, old, f"{name}={old:016x}"))
        return
    _check(args, name, column)
    if Caps.RUN not in session.backend.caps:
        raise Unsupported(session.backend.refusals[Caps.REGISTERS])
    if session.scope.borrowed:
        raise args.error(column=column)
    if session.scope.registers is not None:
        raise args.error("Registers of another context cannot be changed: Syntax error", column)
    found = session.registers
    wanted = extended_value(args.peek()) if slot_of(name).bits == EXTENDED_BITS else None
    if wanted is not None:
        args.rest()
        found[name] = wanted
    else:
        old = found[name]
        found[name] = _new_value(session, args, old, f"{name}={_value_text(name, old)}")


def _new_value(session: Session, args: Arguments, old: int, shown: str) -> int:
    """What follows the equals sign; without it the user is shown the old value and asked."""
    if not args.done:
        return args.expression()
    session.out.line(shown)
    answer = session.ask(INPUT)
    return session.evaluate(answer) if answer.strip() else old


def _set_typed(args: Arguments) -> None:
    """`r? $t0 = expr`."""
    found = _NAME.match(args.peek())
    if found is None:
        raise args.error()
    args.take(found[0])
    if not args.take("="):
        raise args.error()
    args.context.set_pseudo(found[1].lower(), args.cpp())
    args.at_end()


def _instruction_registers(session: Session) -> RegisterValues:
    """`r.`: the registers that the current instruction names."""
    line = session.disassembler.line(session.instruction_pointer)
    words = dict.fromkeys(re.findall(r"[a-z][a-z0-9]+", line.operands))
    values = {name: session.registers[name] for name in words if name in SLOTS}
    shown = (RegisterValue(name, value, _value_text(name, value)) for name, value in values.items())
    return RegisterValues(tuple(shown), "  ")


@dataclass(frozen=True, slots=True)
class RegisterMask:
    """Groups of registers and their bits; `title` is nothing when the groups are all there are."""

    title: str
    mask: int
    groups: tuple[tuple[int, str], ...]

    def lines(self) -> Iterator[str]:
        if self.title:
            yield self.title
        yield from (f"{bit:8x} - {meaning}" for bit, meaning in self.groups)


@command(
    "rm",
    summary="Show or set which registers r displays.",
    group="registers",
    params=(Param("mask", "expression", "bits; ? lists them", optional=True),),
    see_also=("r",),
)
def register_mask(session: Session, args: Arguments, name: str) -> RegisterMask | None:
    if args.take("?"):
        return RegisterMask("", KNOWN_MASK, MASKS)
    if args.done:
        mask = session.settings.register_mask
        groups = tuple(group for group in MASKS if mask & group[0])
        return RegisterMask(f"Register output mask is {mask:x}:", mask, groups)
    mask = args.expression()
    args.at_end()
    ignored = mask & ~KNOWN_MASK
    if mask & INTEGER_64:
        # Both at a time are none: the wider one wins.
        mask &= ~INTEGER_32
    session.settings.register_mask = mask & KNOWN_MASK
    return RegisterMask(f"Ignored invalid bits {ignored:x}", mask, ()) if ignored else None


@dataclass(frozen=True, slots=True)
class MsrValue:
    """A model-specific register."""

    index: int
    value: int

    def lines(self) -> Iterator[str]:
        yield f"msr[{self.index:x}] = {tick(self.value)}"


@command(
    "rdmsr",
    summary="Read a model-specific register of the current processor.",
    group="registers",
    params=(Param("index", "expression", "for instance c0000080"),),
    needs=Caps.MSR,
    see_also=("wrmsr", "r"),
)
def read_msr(session: Session, args: Arguments, name: str) -> MsrValue:
    index = args.expression()
    args.at_end()
    try:
        return MsrValue(index, session.backend.read_msr(index))
    except KdsimError as error:
        raise ArgumentError(f"no such msr: {index:x}") from error


@command(
    "wrmsr",
    summary="Write a model-specific register of the current processor.",
    group="registers",
    params=(Param("index", "expression", "which"), Param("value", "expression", "64 bits")),
    needs=Caps.MSR,
    see_also=("rdmsr",),
)
def write_msr(session: Session, args: Arguments, name: str) -> None:
    index = args.expression()
    value = args.expression()
    args.at_end()
    session.backend.write_msr(index, value)
