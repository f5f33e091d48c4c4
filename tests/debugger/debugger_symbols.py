"""A symbol space with a few functions, globals and types; unwinding by a table of frame sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from kdsim.errors import MemoryFault, SymbolError
from kdsim.symbols.frame import FrameRegisters
from kdsim.symbols.lines import SourceLine
from kdsim.symbols.procedures import Local
from kdsim.symbols.symbols import Symbol
from kdsim.symbols.types import Array, BaseType, Field, Pointer, Record, Type
from kdsim.symbols.unwind import Unwound
from kdsim.symbols.views import View
from kdsim.symbols.wildcard import compile_wildcard

U8 = BaseType("UChar", 1, "uint", "unsigned char")
U16 = BaseType("Uint2B", 2, "uint", "unsigned short")
U32 = BaseType("Uint4B", 4, "uint", "unsigned long")
I32 = BaseType("Int4B", 4, "int", "long")
U64 = BaseType("Uint8B", 8, "uint", "unsigned int64")
VOID = BaseType("Void", 0, "void", "void")


def record(name: str, size: int, **fields: tuple[int, Type]) -> Record:
    return Record(name, size, "struct", tuple(Field(n, o, t) for n, (o, t) in fields.items()))


TIME = record("_KSYSTEM_TIME", 12, LowPart=(0, U32), High1Time=(4, I32), High2Time=(8, I32))
LIST = record("_LIST_ENTRY", 16, Flink=(0, U64), Blink=(8, U64))
STRING = record("_UNICODE_STRING", 16, Length=(0, U16), MaximumLength=(2, U16), Buffer=(8, U64))
TYPES: dict[str, Record] = {
    kind.name: kind
    for kind in (
        TIME,
        LIST,
        STRING,
        record(
            "_KUSER_SHARED_DATA",
            0x738,
            InterruptTime=(8, TIME),
            SystemTime=(0x14, TIME),
            NtProductType=(0x264, U32),
            NtMajorVersion=(0x26C, U32),
            SuiteMask=(0x2D0, U32),
        ),
        record(
            "_KLDR_DATA_TABLE_ENTRY",
            0xA0,
            InLoadOrderLinks=(0, LIST),
            DllBase=(0x30, U64),
            SizeOfImage=(0x40, U32),
            FullDllName=(0x48, STRING),
            BaseDllName=(0x58, STRING),
            CheckSum=(0x78, U32),
            TimeDateStamp=(0x9C, U32),
        ),
        record("_CLIENT_ID", 16, UniqueProcess=(0, U64), UniqueThread=(8, U64)),
        record("_KAPC_STATE", 0x30, Process=(0x20, U64)),
        record("_KPROCESS", 0x438, DirectoryTableBase=(0x28, U64)),
        record("_EPROCESS", 0xA40, Peb=(0x550, U64)),
        record("_KPRCB", 0x700, CurrentThread=(8, U64)),
        record("_KSWITCH_FRAME", 0x40, MxCsr=(0x28, U32), Rbp=(0x30, U64), Return=(0x38, U64)),
        record(
            "_EXCEPTION_RECORD",
            0x98,
            ExceptionCode=(0, I32),
            ExceptionFlags=(4, U32),
            ExceptionAddress=(0x10, U64),
            NumberParameters=(0x18, U32),
            ExceptionInformation=(0x20, Array(U64, 15)),
        ),
        record(
            "_KTRAP_FRAME",
            0x190,
            **{
                name: (0x30 + 8 * i, U64)
                for i, name in enumerate(("Rax", "Rcx", "Rdx", "R8", "R9", "R10", "R11"))
            },
            Rbx=(0x140, U64),
            Rdi=(0x148, U64),
            Rsi=(0x150, U64),
            Rbp=(0x158, U64),
            Rip=(0x168, U64),
            SegCs=(0x170, U16),
            EFlags=(0x178, U32),
            Rsp=(0x180, U64),
            SegSs=(0x188, U16),
            MxCsr=(0x2C, U32),
        ),
    )
}
TYPES["_KTHREAD"] = record(
    "_KTHREAD",
    0x430,
    KernelStack=(0x58, U64),
    KernelStackResident=(0x60, U32),
    ApcState=(0x98, TYPES["_KAPC_STATE"]),
    Teb=(0xF0, U64),
    State=(0x184, U8),
)
TYPES["_ETHREAD"] = record(
    "_ETHREAD", 0x898, Tcb=(0, TYPES["_KTHREAD"]), Cid=(0x478, TYPES["_CLIENT_ID"])
)


@dataclass
class FakeModule:
    name: str
    base: int
    size: int
    image_name: str = ""
    image_path: str = ""
    timestamp: int = 0
    checksum: int = 0
    letters: str = ""
    status: str = "deferred"
    status_text: str = "(deferred)"
    source: None = None
    problem: str = ""

    @property
    def end(self) -> int:
        return self.base + (self.size or 0x10000)


@dataclass(frozen=True)
class FakeLocated:
    module: FakeModule
    symbol: Symbol

    @property
    def va(self) -> int:
        return self.module.base + self.symbol.rva

    @property
    def name(self) -> str:
        return f"{self.module.name}!{self.symbol.name}"


@dataclass
class FakeSpace:
    """The part of `SymbolSpace` the debugger core uses."""

    memory: object
    known: dict[str, list[Symbol]]
    path: str = "srv*"
    frames: dict[str, int] = field(default_factory=dict)
    variables: dict[str, tuple[Local, ...]] = field(default_factory=dict)
    trap_handlers: frozenset[str] = frozenset()
    lines: dict[int, SourceLine] = field(default_factory=dict)
    frame_pointers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.modules: list[FakeModule] = []

    def add(self, name: str, base: int, size: int, **more: object) -> FakeModule:
        module = FakeModule(name, base, size, **more)  # type: ignore[arg-type]
        self.modules.append(module)
        return module

    def remove(self, base: int) -> None:
        self.modules = [m for m in self.modules if m.base != base]

    def clear(self) -> None:
        self.modules.clear()

    def load(self, module: FakeModule) -> None:
        pass

    def module_at(self, va: int) -> FakeModule | None:
        return next((m for m in self.modules if m.base <= va < m.end), None)

    def module_named(self, name: str) -> FakeModule | None:
        return next((m for m in self.modules if m.name.lower() == name.lower()), None)

    def _all(self) -> Iterator[FakeLocated]:
        for module in self.modules:
            for symbol in self.known.get(module.name, []):
                yield FakeLocated(module, symbol)

    def lookup(self, name: str) -> list[FakeLocated]:
        module, _, plain = name.rpartition("!")
        return [
            found
            for found in self._all()
            if found.symbol.name.lower() == plain.lower()
            and (not module or found.module.name.lower() == module.lower())
        ]

    def resolve(self, name: str) -> int:
        found = self.lookup(name)
        if found:
            return found[0].va
        module = self.module_named(name)
        if module is None:
            raise SymbolError(f"no symbol {name} in any module")
        return module.base

    def match(self, pattern: str) -> Iterator[FakeLocated]:
        fits = compile_wildcard(pattern).fullmatch
        return (found for found in self._all() if fits(found.name))

    def nearest(self, va: int) -> tuple[FakeLocated, int] | None:
        module = self.module_at(va)
        below = [f for f in self._all() if f.module is module and f.va <= va]
        if not below:
            return None
        best = max(below, key=lambda f: f.va)
        return best, va - best.va

    def format(self, va: int) -> str:
        found = self.nearest(va)
        module = self.module_at(va)
        if found:
            name, distance = found[0].name, found[1]
        elif module:
            name, distance = module.name, va - module.base
        else:
            return f"0x{va:x}"
        return f"{name}+0x{distance:x}" if distance else name

    def type(self, name: str) -> Type:
        plain = name.rpartition("!")[2]
        if plain not in TYPES:
            raise SymbolError(f"no type {name}")
        return TYPES[plain]

    def view(self, name: str, va: int) -> View:
        return View(self.memory, self.type(name), va)  # type: ignore[arg-type]

    def line(self, va: int) -> SourceLine | None:
        return self.lines.get(va)

    def line_address(self, module: str, file: str, line: int) -> int:
        for va, known in self.lines.items():
            if (known.file, known.line) == (file, line):
                return va
        raise SymbolError(f"no code for {file}:{line}")

    def locals(self, va: int) -> tuple[Local, ...]:
        found = self.nearest(va)
        return self.variables.get(found[0].symbol.name, ()) if found else ()

    def unwind(self, regs: FrameRegisters) -> Unwound:
        """A frame is as many bytes as its function's entry in `frames` says, plus the return."""
        found = self.nearest(regs.rip)
        name = found[0].symbol.name if found else ""
        size = self.frames.get(name, 0)
        if found and found[1] < 4:
            size = 0  # before `sub rsp`
        caller = regs.copy()
        at = regs.rsp + size
        if name in self.trap_handlers:
            data = self.memory.read(at, 40)  # type: ignore[attr-defined]
            caller.rip = int.from_bytes(data[:8], "little")
            caller.rsp = int.from_bytes(data[24:32], "little")
            return Unwound(caller, True, self.frame_pointers.get(name, regs.rsp), None)
        data = self.memory.read(at, 8)  # type: ignore[attr-defined]
        if len(data) < 8:
            raise MemoryFault(at)
        caller.rip = int.from_bytes(data, "little")
        caller.rsp = at + 8
        return Unwound(caller, False, regs.rsp, None)


POINTER = Pointer(VOID)
