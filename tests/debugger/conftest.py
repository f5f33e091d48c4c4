"""A stopped kernel: see `debugger_fakes` and `debugger_symbols`."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from kdsim.debugger.commands.engine import equip
from kdsim.debugger.kernel import SHARED_USER_DATA
from kdsim.debugger.output import Output
from kdsim.debugger.session import Session
from kdsim.symbols.procedures import Local
from kdsim.symbols.symbols import Symbol
from tests.debugger.debugger_fakes import (
    BREAKPOINT,
    DATA,
    EXIT,
    KERNEL,
    PROCESS,
    STACK,
    THREAD,
    FakeBackend,
)
from tests.debugger.debugger_symbols import U32, FakeSpace

CODE = {
    # DbgBreakPointWithStatus: int 3; ret
    0x1000: "cc c3",
    # Outer: sub rsp,28h; call Inner; add rsp,28h; ret
    0x1020: "4883ec28 e817000000 4883c428 c3",
    # Inner: sub rsp,18h; mov eax,5; mov dword ptr [PoolHitTag],eax; add rsp,18h; ret
    0x1040: "4883ec18 b805000000 8905b11f0000 4883c418 c3",
    # Loop: nop; call DbgBreakPointWithStatus; call Outer; nop; call Outer; jmp EXIT
    0x1080: "90 e87affffff e895ffffff 90 e88fffffff e96aefef00",
}
NAMES = {
    "DbgBreakPointWithStatus": (0x1000, 2, "function"),
    "Outer": (0x1020, 14, "function"),
    "Inner": (0x1040, 20, "function"),
    "Loop": (0x1080, 22, "function"),
    "PoolHitTag": (0x3000, 0, "data"),
    "PsLoadedModuleList": (0x3100, 0, "data"),
    "KiBugCheckData": (0x3200, 0, "data"),
    "KiProcessorBlock": (0x3300, 0, "data"),
    "NtBuildLabEx": (0x3400, 0, "data"),
}
CLOCK = 1_700_000_000.125
SYSTEM_TIME = 133_444_735_425_000_000
UPTIME = 2 * 864_000_000_000 + 37_234_5678_000


@dataclass
class Kd:
    """A session and what it printed."""

    backend: FakeBackend
    session: Session
    printed: list[str]
    space: FakeSpace

    def run(self, line: str) -> str:
        """What one command line prints."""
        self.printed.clear()
        self.session.execute(line)
        return "".join(self.printed)

    def poke(self, address: int, data: bytes) -> None:
        """Change memory behind the debugger's back, as the target would have done earlier."""
        self.backend.virtual.poke(address, data)
        self.session.flush_memory()

    def lines(self, line: str) -> list[str]:
        return self.run(line).splitlines()


def qwords(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


def fill_memory(backend: FakeBackend) -> None:
    pages = backend.virtual
    pages.map(KERNEL, b"MZ", size=0x5000)
    for offset, code in CODE.items():
        pages.poke(KERNEL + offset, bytes.fromhex(code.replace(" ", "")))
    pages.map(STACK - 0x1000, size=0x2000)
    pages.map(SHARED_USER_DATA, size=0x1000)
    for offset, value in ((8, UPTIME), (0x14, SYSTEM_TIME)):
        pages.poke(SHARED_USER_DATA + offset, struct.pack("<Q", value))
    for offset, value in ((0x264, 1), (0x26C, 10), (0x2D0, 0x110)):
        pages.poke(SHARED_USER_DATA + offset, struct.pack("<I", value))
    pages.poke(DATA, b"\x78\x56\x34\x12Abc \0\xff")
    pages.poke(DATA + 0x400, b"19041.1.amd64fre.vb_release.191206-1406\0")
    pages.poke(DATA + 0x500, "Unicode text".encode("utf-16-le") + b"\0\0")
    pages.map(THREAD, size=0x2000)
    pages.poke(THREAD + 0x98 + 0x20, qwords(PROCESS))
    pages.poke(THREAD + 0x478, qwords(4, 0x4C))
    pages.poke(PROCESS + 0x28, qwords(0x1AD000))
    _module_list(backend)


def _module_list(backend: FakeBackend) -> None:
    """nt and hal, one entry each, behind PsLoadedModuleList."""
    pages, head, first = backend.virtual, DATA + 0x100, DATA + 0x800
    images = ((KERNEL, 0x10000, "ntoskrnl.exe"), (KERNEL + 0x100000, 0x6000, "hal.dll"))
    links = [first + 0x200 * i for i in range(len(images))]
    chain = [head, *links, head]
    pages.poke(head, qwords(links[0], links[-1]))
    for index, (base, size, name) in enumerate(images):
        at, text = links[index], name.encode("utf-16-le")
        pages.poke(at, qwords(chain[index + 2], chain[index]))
        pages.poke(at + 0x30, qwords(base, 0))
        pages.poke(at + 0x40, struct.pack("<I", size))
        for field in (0x48, 0x58):
            pages.poke(at + field, struct.pack("<HHIQ", len(text), len(text), 0, at + 0x100))
        pages.poke(at + 0x100, text)


@pytest.fixture
def backend() -> FakeBackend:
    made = FakeBackend()
    fill_memory(made)
    made.virtual.poke(STACK, qwords(KERNEL + 0x1086, EXIT))
    context = made.contexts[0]
    context.set("rip", KERNEL + 0x1000)
    context.set("rsp", STACK)
    context.set("rcx", 1)
    made.contexts[1].set("rip", KERNEL + 0x1020)
    made.contexts[1].set("rsp", STACK + 0x800)
    return made


def make(backend: FakeBackend) -> Kd:
    printed: list[str] = []
    session = Session(backend, Output(printed.append), clock=lambda: CLOCK)
    known = {
        "nt": [Symbol(name, rva, size, kind) for name, (rva, size, kind) in NAMES.items()],
        "leaky": [Symbol("Worker", 0x1000, 0x40, "function")],
    }
    space = FakeSpace(
        session.memory,
        known,
        frames={"Outer": 0x28, "Inner": 0x18},
        variables={
            "Outer": (
                Local("Tag", U32, True, "memory", "rsp", 0x20),
                Local("Count", U32, False, "register", "rax"),
                Local("Gone", U32, False, "unavailable"),
            )
        },
    )
    session.modules._space = space  # type: ignore[assignment]
    equip(session)
    return Kd(backend, session, printed, space)


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(autouse=True, scope="session")
def _parser_tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDSIM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def fresh(backend: FakeBackend) -> Kd:
    """Not attached yet."""
    return make(backend)


@pytest.fixture
def kd(fresh: Kd) -> Kd:
    """Attached and stopped in DbgBreakPointWithStatus."""
    fresh.backend.events.append(fresh.backend.stop_event(BREAKPOINT))
    fresh.session.attach()
    fresh.printed.clear()
    return fresh
