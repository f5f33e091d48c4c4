"""A debuggee made of bytes, and a host that records what it is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kdsim.debugger.language.conversions import basic, load
from kdsim.debugger.language.typed import Typed
from kdsim.errors import KdsimError, UnknownCommand
from kdsim.symbols.memory import BytesMemory
from kdsim.symbols.types import Array, BitField, Enum, Field, Function, Pointer, Record

BASE = 0xFFFFF807_10000000
SIZE = 0x3000

ULONG = basic("unsigned long")
UCHAR = basic("unsigned char")
NODE = Record(
    "_NODE",
    0x40,
    "struct",
    lambda: (
        Field("Next", 0, Pointer(NODE)),
        Field("Count", 8, ULONG),
        Field("Level", 0xC, basic("long")),
        Field("Name", 0x10, Array(UCHAR, 8)),
        Field("Low", 0x18, BitField(ULONG, 0, 4)),
        Field("High", 0x18, BitField(ULONG, 4, 12)),
        Field("Inner", 0x20, INNER),
        Field("Rate", 0x30, basic("double")),
        Field("Kind", 0x38, KIND),
        Field("Text", 0x3C, basic("char")),
    ),
)
INNER = Record(
    "_INNER", 0x10, "struct", (Field("A", 0, basic("short")), Field("B", 4, Array(ULONG, 3)))
)
KIND = Enum("_KIND", basic("int"), {"KindNone": 0, "KindSome": 7})
STRING = Record(
    "_STRING",
    0x10,
    "struct",
    (
        Field("Length", 0, basic("unsigned short")),
        Field("MaximumLength", 2, basic("unsigned short")),
        Field("Buffer", 8, Pointer(basic("char"))),
    ),
)

NODE_AT = BASE + 0x100
TEXT_AT = BASE + 0x200
WIDE_AT = BASE + 0x220
ANSI_AT = BASE + 0x240
UNICODE_AT = BASE + 0x250
SYMBOLS = {
    "nt": BASE,
    "nt!Count": BASE,
    "nt!Node": NODE_AT,
    "nt!Text": TEXT_AT,
    "nt!bad": BASE + 0xBAD,
    "nt!Class::Member": BASE + 0x300,
    "nt!odd name": BASE + 0x310,
    "nt!KeWork": BASE + 0x1000,
    "nt!Table": BASE + 0x80,
}
TYPES = {
    "_NODE": NODE,
    "_INNER": INNER,
    "_KIND": KIND,
    "_STRING": STRING,
    "_UNICODE_STRING": STRING,
}
VARIABLES = {
    "Node": NODE,
    "Count": ULONG,
    "Table": Array(ULONG, 4),
    "KeWork": Function(basic("long")),
}


def memory_bytes() -> bytearray:
    data = bytearray(SIZE)
    data[0:4] = (0x12345678).to_bytes(4, "little")
    for index in range(4):
        data[0x80 + 4 * index : 0x84 + 4 * index] = (index * 11).to_bytes(4, "little")
    node = 0x100
    data[node : node + 8] = NODE_AT.to_bytes(8, "little")
    data[node + 8 : node + 12] = (5).to_bytes(4, "little")
    data[node + 12 : node + 16] = (-3 & 0xFFFFFFFF).to_bytes(4, "little")
    data[node + 16 : node + 24] = b"System\0\0"
    data[node + 0x18 : node + 0x1C] = (0xABC9).to_bytes(4, "little")
    data[node + 0x20 : node + 0x22] = (-1 & 0xFFFF).to_bytes(2, "little")
    data[node + 0x24 : node + 0x30] = b"".join(n.to_bytes(4, "little") for n in (7, 8, 9))
    data[node + 0x30 : node + 0x38] = bytes.fromhex("000000000000f83f")
    data[node + 0x38 : node + 0x3C] = (7).to_bytes(4, "little")
    data[node + 0x3C] = ord("x")
    data[0x200:0x20C] = b"hello world\0"
    data[0x220:0x22C] = "wide\0".encode("utf-16-le") + b"\0\0"
    for place, length, target in ((0x240, 5, TEXT_AT), (0x250, 8, WIDE_AT)):
        data[place : place + 2] = length.to_bytes(2, "little")
        data[place + 8 : place + 16] = target.to_bytes(8, "little")
    return data


class FakeContext:
    """Implements `Context` over the bytes above."""

    def __init__(self) -> None:
        self.radix = 16
        self.evaluator = "masm"
        self.pointer_size = 8
        self.memory = BytesMemory(BASE, memory_bytes())
        self.physical = BytesMemory(0, bytearray(range(256)))
        self.registers = {
            "rax": 0x10,
            "rip": BASE + 0x1000,
            "rsp": BASE + 0x80,
            "al": 0x7F,
            "zf": 1,
        }
        self.pseudos: dict[str, Typed | int] = {f"$t{n}": 0 for n in range(20)}
        self.pseudos["$proc"] = Typed(Pointer(NODE), NODE_AT)
        self.pseudos["$ra"] = 0x55

    def here(self) -> int:
        return self.registers["rip"]

    def symbol(self, name: str) -> int | None:
        names = {full.lower(): va for full, va in SYMBOLS.items()}
        names |= {full.rpartition("!")[2].lower(): va for full, va in SYMBOLS.items()}
        return names.get(name.lower())

    def local(self, name: str) -> Typed | None:
        return load(self, ULONG, BASE) if name == "counter" else None

    def typed_symbol(self, name: str) -> Typed | None:
        plain = name.removeprefix("nt!")
        if plain == "inRegister":
            return Typed(basic("long"), -9)
        kind = VARIABLES.get(plain)
        return load(self, kind, SYMBOLS[f"nt!{plain}"]) if kind else None

    def type(self, name: str):
        return TYPES.get(name.removeprefix("nt!"))

    def register(self, name: str) -> int | None:
        return self.registers.get(name)

    def pseudo(self, name: str) -> Typed | int | None:
        return self.pseudos.get(name)

    def set_pseudo(self, name: str, value: Typed | int) -> None:
        self.pseudos[name] = value

    def source_line(self, module: str, file: str, line: int) -> int | None:
        if file in ("", "work.c") and module in ("", "nt"):
            return BASE + 0x1000 + line
        return None

    def describe(self, va: int) -> str:
        return f"nt!KeWork+0x{va - BASE - 0x1000:x}"

    def describe_line(self, va: int) -> str:
        return "work.c @ 12"

    def function_type(self, va: int):
        return VARIABLES["KeWork"] if va == BASE + 0x1000 else None


class FakeHost:
    """Knows `.echo`, `.printf`, `?`, `r $tN=`, and `fail`; records every command."""

    prompt = "kd> "

    def __init__(self, context: FakeContext) -> None:
        self.context = context
        self.ran: list[str] = []
        self.errors: list[str] = []
        self.interrupted = False
        self._captures: list[list[str]] = [[]]

    @property
    def output(self) -> str:
        return "".join(self._captures[0])

    def write(self, text: str) -> None:
        self._captures[-1].append(text)

    @contextmanager
    def capture(self) -> Iterator[list[str]]:
        self._captures.append([])
        try:
            yield self._captures[-1]
        finally:
            self._captures.pop()

    def report(self, error: KdsimError) -> None:
        self.errors.append(str(error))

    @contextmanager
    def on_processor(self, number: int) -> Iterator[None]:
        self.ran.append(f"processor {number}")
        yield

    def require_user(self, name: str) -> None:
        pass

    def check_interrupt(self) -> None:
        if self.interrupted:
            raise KeyboardInterrupt

    def dispatch(self, text: str) -> None:
        from kdsim.debugger.language import commands
        from kdsim.debugger.language.arguments import Arguments

        self.ran.append(text)
        name = next((n for n in (".echo", ".printf", "?", "r ") if text.startswith(n)), text)
        arguments = Arguments(text, self.context, len(name))
        match name:
            case ".echo":
                self.write("\n".join(commands.echo(arguments).lines()) + "\n")
            case ".printf":
                self.write(commands.printf(arguments))
            case "?":
                self.write("\n".join(commands.evaluate(arguments).lines()) + "\n")
            case "r ":
                target, _, expression = text[2:].partition("=")
                assigned = Arguments(expression, self.context).expression()
                self.context.set_pseudo(target.strip(), assigned)
            case "fail":
                raise UnknownCommand("fail")
