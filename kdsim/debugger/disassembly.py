"""x64 instructions in WinDbg's words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from kdsim.debugger.text import address as tick
from kdsim.errors import KdsimError, MemoryFault, SymbolError

if TYPE_CHECKING:
    from types import ModuleType

    from kdsim.debugger.registers import RegisterFile
    from kdsim.debugger.session import Session

LONGEST = 15
"""Bytes of the longest instruction."""

POINTER_SIZE = 8

_BYTES_COLUMN = 16

SHOWN_SIZES = (1, 2, 4, 8, 16)
"""Memory operands of these sizes are shown with their value."""

IMPORT, SHOWN_IMPORT = "!__imp_", "!_imp_"
_STRING_LITERAL = re.compile(r"\?\?_C@_[\w@$?]*")
"""What SYMOPT_UNDNAME does to the decorated names seen every day: an import's public name loses
one underscore, that of a string literal becomes `string'."""

# String instructions whose operands iced's MASM formatter leaves out; WinDbg prints them.
_STRING_OPERANDS = {
    "movs": "{0} [rdi],{0} [rsi]",
    "cmps": "{0} [rsi],{0} [rdi]",
    "stos": "{0} [rdi]",
    "lods": "{0} [rsi]",
    "scas": "{0} [rdi]",
}
_STRING_SIZES = {"b": "byte ptr", "w": "word ptr", "d": "dword ptr", "q": "qword ptr"}


@cache
def _iced() -> ModuleType:
    import iced_x86

    return iced_x86


@cache
def _formatter() -> Any:
    iced = _iced()
    formatter = iced.Formatter(iced.FormatterSyntax.MASM)
    formatter.memory_size_options = iced.MemorySizeOptions.ALWAYS
    formatter.uppercase_hex = True
    formatter.show_branch_size = False
    formatter.space_after_operand_separator = False
    return formatter


@dataclass(frozen=True, slots=True)
class Line:
    """One disassembled instruction.

    Attributes:
        target: where a direct branch or call goes, None for everything else.
        prefix: the line number in the source, after `.asm source_line`.
        bytes_shown: False after `.asm no_code_bytes`.
        kind: "call", "ret", "branch" (conditional), "jump" or "".
    """

    address: int
    data: bytes
    mnemonic: str
    operands: str
    target: int | None = None
    kind: str = ""
    prefix: str = ""
    bytes_shown: bool = True

    @property
    def next(self) -> int:
        return self.address + len(self.data)

    @property
    def instruction(self) -> str:
        return f"{self.mnemonic:7} {self.operands}".rstrip()

    def __str__(self) -> str:
        shown = self.data.hex() or "??"
        code = f"{shown:{_BYTES_COLUMN - 1}} " if self.bytes_shown else ""
        return f"{self.prefix}{tick(self.address)} {code}{self.instruction}"


def unreadable(va: int) -> Line:
    """What is shown where no byte can be read."""
    return Line(va, b"", "???", "")


class Disassembler:
    """Decodes target memory; names come from the session's symbols."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def prepare(self) -> None:
        """Import the decoder; costs nothing later."""
        _formatter()

    def line(self, va: int) -> Line:
        """The instruction at an address; MemoryFault when not a byte is readable."""
        data = self._session.code_told(va, LONGEST) or self._session.memory.read_some(va, LONGEST)
        if not data:
            raise MemoryFault(va)
        return self.decode(va, data)

    def decode(self, va: int, data: bytes, bits: int = 64) -> Line:
        """The first instruction of `data`; `???` when it is none."""
        iced = _iced()
        decoded = iced.Decoder(bits, data[:LONGEST], ip=va).decode()
        if decoded.is_invalid:
            return Line(va, data[:1], "???", "")
        options = self._session.settings.disassembly
        return Line(
            va,
            data[: decoded.len],
            *self._words(decoded),
            decoded.near_branch_target if _is_near(decoded) else None,
            _kind(decoded.flow_control),
            self._line_number(va) if "source_line" in options else "",
            "no_code_bytes" not in options,
        )

    def _line_number(self, va: int) -> str:
        """As the prefix of an instruction; blank where no source is known."""
        try:
            found = self._session.modules.space_for(va).line(va)
        except KdsimError:
            found = None
        return f"{found.line if found else '':>5} "

    def lines(self, va: int, count: int) -> Iterator[Line]:
        """`count` instructions upwards, up to the first that is unreadable."""
        for _ in range(count):
            line = self.line(va)
            yield line
            va = line.next

    def backwards(self, va: int, count: int) -> list[Line]:
        """The `count` instructions that end at an address.

        Decoding starts at the function that holds it, where instruction borders are known; without
        one, at the nearest place below from which decoding arrives at the address.
        """
        for start in self._starts_below(va, count):
            lines: list[Line] = []
            at = start
            try:
                while at < va:
                    lines.append(self.line(at))
                    at = lines[-1].next
            except MemoryFault:
                continue
            if at == va and lines:
                return lines[-count:]
        raise MemoryFault(va - 1)

    def symbol_line(self, va: int) -> str | None:
        """`nt!Foo+0x1b:`, or None when no symbol is near."""
        name = self.symbol(va)
        return f"{name}:" if name else None

    def location(
        self,
        va: int,
        *,
        symbol: bool = True,
        instruction: bool = True,
        registers: RegisterFile | None = None,
    ) -> list[str]:
        """What is printed where the target stopped."""
        lines = []
        name = self.symbol_line(va) if symbol else None
        if name:
            lines.append(name)
        if instruction:
            try:
                line = self.line(va)
            except MemoryFault:
                lines.append(str(unreadable(va)))
            else:
                note = self.effect(line, registers) if registers else ""
                lines.append(f"{line} {note}" if note else str(line))
        return lines

    def step_target(self, va: int) -> int | None:
        """Where `p` has to stop: after a call or a repeated string instruction; else None."""
        try:
            line = self.line(va)
        except MemoryFault:
            return None
        whole = line.kind == "call" or line.mnemonic.startswith("rep") or line.mnemonic == "syscall"
        return line.next if whole and line.mnemonic != "rep ret" else None

    def symbol(self, va: int) -> str | None:
        """`nt!Foo+0x1b` or None."""
        name = self._session.modules.space_for(va).format(va)
        return undecorated(name) if "!" in name or "+" in name else None

    def effect(self, line: Line, registers: RegisterFile) -> str:
        """`[br=1]` of a conditional jump, or the memory operand: ``ds:002b:<address>=<value>``."""
        iced = _iced()
        decoded = iced.Decoder(64, line.data, ip=line.address).decode()
        if line.kind == "branch":
            return f"[br={int(_taken(decoded, registers))}]"
        place = memory_operand(decoded, registers)
        if place is None:
            return ""
        segment, va, size = place
        shown = self._operand_value(self._session.memory.read_some(va, size), size)
        return f"{segment}:{registers[segment]:04x}:{tick(va)}={shown}"

    def effective_addresses(self, va: int, registers: RegisterFile) -> list[int]:
        """Where the memory operands of an instruction lie (`$ea`, `$ea2`); `movs` has two."""
        iced = _iced()
        decoded = iced.Decoder(64, self.line(va).data, ip=va).decode()
        place = memory_operand(decoded, registers)
        strings = {iced.OpKind.MEMORY_ESRDI: "rdi", iced.OpKind.MEMORY_SEG_RSI: "rsi"}
        kinds = [decoded.op_kind(i) for i in range(decoded.op_count)]
        implied = [registers[strings[kind]] for kind in kinds if kind in strings]
        return [place[1], *implied] if place else implied

    def _operand_value(self, data: bytes, size: int) -> str:
        """In hex; what points exactly at a symbol is shown by its name."""
        if len(data) < size:
            return "?" * size * 2
        if size != POINTER_SIZE:
            return data[::-1].hex()
        value = int.from_bytes(data, "little")
        name = self.symbol(value)
        return f"{{{name} ({tick(value)})}}" if name and "+" not in name else tick(value)

    def _starts_below(self, va: int, count: int) -> Iterator[int]:
        space = self._session.modules.space_for(va - 1)
        try:
            found = space.nearest(va - 1)
        except SymbolError:
            found = None
        if found is not None and found[1] < 0x1000:
            yield found[0].va
        for distance in range(count * LONGEST, 0, -1):
            yield va - distance

    def _words(self, decoded: Any) -> tuple[str, str]:
        """Mnemonic and operands, with names in the place of addresses."""
        formatter = _formatter()
        mnemonic = formatter.format_mnemonic(decoded)
        if decoded.is_string_instruction:
            return _string_words(mnemonic)
        operands = [
            self._operand(decoded, formatter.format_operand(decoded, index))
            for index in range(formatter.operand_count(decoded))
        ]
        if mnemonic == "int3" or (mnemonic == "int" and not operands):
            operands = ["3"]
        return mnemonic, ",".join(operands).replace("oword ptr", "xmmword ptr")

    def _operand(self, decoded: Any, text: str) -> str:
        if _is_near(decoded):
            return self._named(decoded.near_branch_target)
        if "[" in text and decoded.is_ip_rel_memory_operand:
            before, _, rest = text.partition("[")
            after = rest.partition("]")[2]
            return f"{before}[{self._named(decoded.ip_rel_memory_address)}]{after}"
        return text

    def _named(self, va: int) -> str:
        name = self.symbol(va)
        return f"{name} ({tick(va)})" if name else tick(va)


def undecorated(name: str) -> str:
    """A symbol's name as dbghelp shows it."""
    if "??_C@" in name:
        return _STRING_LITERAL.sub("`string'", name)
    return name.replace(IMPORT, SHOWN_IMPORT)


def _string_words(mnemonic: str) -> tuple[str, str]:
    """`rep stosq` -> `rep stos`, `qword ptr [rdi]`."""
    stem, size = mnemonic[:-1], mnemonic[-1]
    operands = _STRING_OPERANDS.get(stem.split()[-1], "")
    return (stem, operands.format(_STRING_SIZES[size])) if operands else (mnemonic, "")


def _is_near(decoded: Any) -> bool:
    return bool(decoded.op_count) and decoded.op0_kind in (
        _iced().OpKind.NEAR_BRANCH16,
        _iced().OpKind.NEAR_BRANCH32,
        _iced().OpKind.NEAR_BRANCH64,
    )


def _kind(flow: int) -> str:
    control = _iced().FlowControl
    return {
        control.CALL: "call",
        control.INDIRECT_CALL: "call",
        control.RETURN: "ret",
        control.CONDITIONAL_BRANCH: "branch",
        control.UNCONDITIONAL_BRANCH: "jump",
        control.INDIRECT_BRANCH: "jump",
    }.get(flow, "")


def _taken(decoded: Any, registers: RegisterFile) -> bool:
    """Whether a conditional jump will jump, from the flags."""
    flag = {name: bool(registers[name]) for name in ("cf", "pf", "zf", "sf", "of")}
    conditions = {
        "o": flag["of"],
        "b": flag["cf"],
        "e": flag["zf"],
        "be": flag["cf"] or flag["zf"],
        "s": flag["sf"],
        "p": flag["pf"],
        "l": flag["sf"] != flag["of"],
        "le": flag["zf"] or flag["sf"] != flag["of"],
    }
    codes = _iced().ConditionCode
    name = next(
        (n for n in ("o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge",
                     "le", "g") if getattr(codes, n.upper()) == decoded.condition_code),
        "",
    )  # fmt: skip
    opposite = {"no": "o", "ae": "b", "ne": "e", "a": "be", "ns": "s", "np": "p", "ge": "l",
                "g": "le"}  # fmt: skip
    if name in opposite:
        return not conditions[opposite[name]]
    if name:
        return conditions[name]
    return registers["rcx"] == 0  # jrcxz and its kin


def memory_operand(decoded: Any, registers: RegisterFile) -> tuple[str, int, int] | None:
    """Segment, address and size of what an instruction reads or writes in memory."""
    iced = _iced()
    kinds = [decoded.op_kind(i) for i in range(decoded.op_count)]
    size = iced.MemorySizeExt.size(decoded.memory_size)
    if iced.OpKind.MEMORY not in kinds or decoded.mnemonic == iced.Mnemonic.NOP:
        return None
    if size not in SHOWN_SIZES:
        return None
    names = {
        getattr(iced.Register, name.upper()): name for name in ("cs", "ds", "es", "fs", "gs", "ss")
    }
    segment = names.get(decoded.memory_segment, "ds")
    if decoded.is_ip_rel_memory_operand:
        return segment, decoded.ip_rel_memory_address, size
    va = decoded.memory_displacement
    for register, scale in (
        (decoded.memory_base, 1),
        (decoded.memory_index, decoded.memory_index_scale),
    ):
        if register != iced.Register.NONE:
            va += registers[_register_name(register)] * scale
    if segment == "gs":
        va += registers.special.get("gs_base")
    return segment, va & (1 << 64) - 1, size


@cache
def _register_name(register: int) -> str:
    iced = _iced()
    names: list[str] = [
        name.lower()
        for name, value in vars(iced.Register).items()
        if value == register and name.isupper()
    ]
    return names[0]
