"""How fast guest code and machine services run, against the bare CPU engine.

    python benchmarks/cpu.py

The same loops run in the engine alone, through its own Python package and behind the same page
tables, and in a machine with its hooks, clock and round robin: in slices of time and in slices of
counted instructions. Each figure is the best of several runs.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

from unicorn import UC_ARCH_X86, UC_HOOK_INTR, UC_MODE_64, UC_PROT_ALL, Uc
from unicorn.x86_const import (
    UC_X86_REG_CR0,
    UC_X86_REG_CR3,
    UC_X86_REG_CR4,
    UC_X86_REG_MSR,
    UC_X86_REG_RCX,
    UC_X86_REG_RDI,
)

from kdsim.target.machine.clock import Clock
from kdsim.target.machine.machine import SLICE_INSTRUCTIONS, SLICE_NS, Machine
from kdsim.target.machine.paging import NO_EXECUTE, WRITABLE, AddressSpace
from kdsim.target.machine.processor import CR0, CR4, EFER, Outcome, Processor
from kdsim.target.machine.ram import PhysicalMemory
from kdsim.target.machine.timer import StopTimer

RUNS = 5
RATIO_LIMIT = 0.8
SERVICE_LIMIT_US = 2.0
CREATE_LIMIT_MS = 20.0
SLICES = 400
TIMED_SECONDS = 0.5

CODE, DATA = 0x10_0000, 0x20_0000
# add rax,rdx; lea rbx,[rax+rax*2]; xor rdx,rbx; shr rbx,3; inc rcx; jmp
REGISTERS = b"\x48\x01\xd0\x48\x8d\x1c\x40\x48\x31\xda\x48\xc1\xeb\x03\x48\xff\xc1\xeb\xed"
# mov rax,[rdi]; add rax,rcx; mov [rdi+8],rax; inc rcx; jmp
MEMORY = b"\x48\x8b\x07\x48\x01\xc8\x48\x89\x47\x08\x48\xff\xc1\xeb\xf1"
LOOPS = {"registers": (REGISTERS, 6), "memory": (MEMORY, 5)}
SERVICES = b"\xcd\x81\x48\xff\xc1\xeb\xf9"  # int 81h; inc rcx; jmp


def memory(code: bytes) -> AddressSpace:
    """RAM with page tables, `code` and a page of data that is not executable."""
    ram = PhysicalMemory("16M")
    pages = iter(range(0x1000, CODE, 0x1000))
    space = AddressSpace(ram, next(pages), lambda: next(pages))
    space.map(CODE, CODE)
    space.map(DATA, DATA, flags=WRITABLE | NO_EXECUTE)
    space.write(CODE, code)
    return space


def bare(code: bytes) -> Uc:
    space = memory(code)
    engine = Uc(UC_ARCH_X86, UC_MODE_64, 21)
    engine.mem_map_ptr(0, space.ram.size, UC_PROT_ALL, space.ram.pointer)
    engine.reg_write(UC_X86_REG_CR3, space.cr3)
    engine.reg_write(UC_X86_REG_CR4, CR4)
    engine.reg_write(UC_X86_REG_MSR, (0xC000_0080, EFER))
    engine.reg_write(UC_X86_REG_CR0, CR0)
    engine.reg_write(UC_X86_REG_RDI, DATA)
    engine.ctl_exits_enabled(True)
    engine.ctl_set_exits([])
    engine.keep = space
    return engine


def machine(code: bytes, mode: str) -> tuple[Machine, Processor]:
    """A machine of one processor about to run `code`."""
    space = memory(code)
    made = Machine(space.ram, 1, Clock(mode))
    cpu = made.processors[0]
    cpu.start(rip=CODE, rsp=DATA + 0x1000, cr3=space.cr3)
    cpu.rdi = DATA
    return made, cpu


def bare_counted(code: bytes, per_loop: int) -> float:
    engine = bare(code)
    engine.emu_start(CODE, 0, count=per_loop)
    start = time.perf_counter()
    for _ in range(SLICES):
        engine.emu_start(CODE, 0, count=SLICE_INSTRUCTIONS)
    return SLICES * SLICE_INSTRUCTIONS / (time.perf_counter() - start)


def machine_counted(code: bytes, per_loop: int) -> float:
    made, cpu = machine(code, "virtual")
    cpu.run(count=per_loop)
    start, until = time.perf_counter(), SLICES * SLICE_INSTRUCTIONS * 10 // 100
    made.run(until=until)
    speed = SLICES * SLICE_INSTRUCTIONS / (time.perf_counter() - start)
    made.close()
    return speed


def run_for(engine: Uc, begin: int, seconds: float) -> None:
    """A timed run. The engine's own timeout is not used: on a busy host its stop can get lost."""
    timer = StopTimer(engine.emu_stop)
    timer.begin(seconds)
    engine.emu_start(begin, 0)
    timer.end()
    timer.close()


def bare_timed(code: bytes, per_loop: int) -> float:
    engine = bare(code)
    start = time.perf_counter()
    while time.perf_counter() - start < TIMED_SECONDS:
        run_for(engine, CODE, SLICE_NS / 1e9)
    seconds = time.perf_counter() - start
    return float(engine.reg_read(UC_X86_REG_RCX)) * per_loop / seconds


def machine_timed(code: bytes, per_loop: int) -> float:
    made, cpu = machine(code, "wall")
    start = time.perf_counter()
    made.run(until=int(TIMED_SECONDS * 1e7))
    speed = cpu.rcx * per_loop / (time.perf_counter() - start)
    made.close()
    return speed


def bare_service() -> float:
    """Microseconds of one `int` with an empty callback."""
    engine = bare(SERVICES)
    engine.hook_add(UC_HOOK_INTR, lambda _engine, _vector, _data: None)
    start = time.perf_counter()
    run_for(engine, CODE, TIMED_SECONDS)
    return (time.perf_counter() - start) / engine.reg_read(UC_X86_REG_RCX) * 1e6


def machine_service() -> float:
    """Microseconds of one service that reads its number and argument and gives a result."""
    made, cpu = machine(SERVICES, "wall")

    def serve(cpu: Processor) -> Outcome:
        cpu.rax = cpu.rax + cpu.rdx
        return Outcome.HANDLED

    made.attach(serve, None)
    start = time.perf_counter()
    made.run(until=int(TIMED_SECONDS * 1e7))
    cost = (time.perf_counter() - start) / cpu.rcx * 1e6
    made.close()
    return cost


def creation() -> float:
    """Milliseconds to make a machine of two processors, self-test included."""
    probe = (
        "import time; from kdsim.target.machine.machine import Machine; "
        "t = time.perf_counter(); Machine('512M', 2); print(time.perf_counter() - t)"
    )
    command = [sys.executable, "-c", probe]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(text) * 1e3


def best(measure: Callable[[], float], pick: Callable[[list[float]], float]) -> float:
    return pick([measure() for _ in range(RUNS)])


def compare(title: str, alone: Callable[[], float], inside: Callable[[], float]) -> bool:
    """Best speeds in turn, so that both see the same neighbours; whether the ratio holds."""
    pairs = [(alone(), inside()) for _ in range(RUNS)]
    engine, ours = (max(speeds) for speeds in zip(*pairs, strict=True))
    ratio = ours / engine
    print(
        f"{title:<28} engine {engine / 1e6:7.0f} MIPS   machine {ours / 1e6:7.0f} MIPS   "
        f"ratio {ratio:.2f} (limit {RATIO_LIMIT})"
    )
    return ratio >= RATIO_LIMIT


def main() -> int:
    kept = []
    for name, (code, per_loop) in LOOPS.items():
        arguments = (code, per_loop)
        kept.append(
            compare(
                f"{name}, counted slices",
                lambda arguments=arguments: bare_counted(*arguments),
                lambda arguments=arguments: machine_counted(*arguments),
            )
        )
        kept.append(
            compare(
                f"{name}, timed slices",
                lambda arguments=arguments: bare_timed(*arguments),
                lambda arguments=arguments: machine_timed(*arguments),
            )
        )
    hook, service = best(bare_service, min), best(machine_service, min)
    print(
        f"{'service round trip':<28} engine {hook:7.2f} us     machine {service:7.2f} us     "
        f"added {service - hook:.2f} (limit {SERVICE_LIMIT_US})"
    )
    kept.append(service - hook <= SERVICE_LIMIT_US)
    made = best(creation, min)
    print(f"{'two-processor machine':<28} {made:.1f} ms (limit {CREATE_LIMIT_MS})")
    kept.append(made <= CREATE_LIMIT_MS)
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
