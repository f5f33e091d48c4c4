"""Slices, time, idling, requests, several processors."""

from __future__ import annotations

import mmap
import threading
import time
from pathlib import Path

import pytest

from kdsim.errors import TargetError, UserError
from kdsim.target.machine.clock import NS_PER_INSTRUCTION, Clock, ClockMode
from kdsim.target.machine.machine import (
    CLOCK_VECTOR,
    IPI_VECTOR,
    SLICE_INSTRUCTIONS,
    Machine,
    Reason,
)
from kdsim.target.machine.processor import Outcome, Processor
from tests.target.machine.conftest import (
    DATA,
    HLT,
    INT3,
    IRETQ,
    KERNEL,
    SERVICE,
    STACK,
    STI,
    Guest,
    mov_rax,
    mov_rcx,
    tick_service,
)

TICK = 156_250
IDLE_LOOP = STI + HLT + b"\xeb\xfd"  # sti; hlt; jmp hlt
SPIN = b"\x48\xff\xc0\xeb\xfb"  # inc rax; jmp
COUNT_TICKS = mov_rax(DATA) + b"\x48\xff\x00"  # inc qword [rax]


def ticking(guest: Guest, code: bytes = SERVICE + IDLE_LOOP) -> Processor:
    """A processor whose clock handler counts in DATA and sets the next tick."""
    guest.machine.attach(tick_service(guest.machine), None)
    save_rax = b"\x50"
    guest.handler(CLOCK_VECTOR, save_rax + COUNT_TICKS + SERVICE + b"\x58" + IRETQ)
    return guest.start(code)


def test_an_idle_machine_skips_to_its_next_event(guest: Guest):
    ticking(guest)
    assert guest.machine.run(until=1000 * TICK).reason is Reason.UNTIL
    assert guest.machine.clock.now() == 1000 * TICK
    assert guest.space.read_u64(DATA) == 999


def test_ticks_come_on_time_under_load(guest: Guest):
    ticking(guest, SERVICE + STI + SPIN)
    guest.machine.run(until=20 * TICK)
    assert guest.space.read_u64(DATA) == 19


def test_wall_time_waits_and_can_be_interrupted():
    guest = Guest(clock=Clock(ClockMode.WALL))
    guest.start(IDLE_LOOP)
    started = time.monotonic()
    assert guest.machine.run(until=500_000).reason is Reason.UNTIL
    assert time.monotonic() - started > 0.04
    threading.Timer(0.05, guest.machine.interrupt).start()
    assert guest.machine.run(until=6_000_000_000).reason is Reason.REQUEST
    guest.machine.close()


def test_wall_time_stands_still_between_runs():
    clock = Clock(ClockMode.WALL)
    guest = Guest(clock=clock)
    guest.start(SPIN)
    guest.machine.run(until=100_000)
    before = clock.now_ns()
    time.sleep(0.02)
    assert clock.now_ns() == before
    guest.machine.close()


@pytest.mark.parametrize("mode", list(ClockMode))
def test_a_busy_machine_can_be_interrupted(mode):
    guest = Guest(clock=Clock(mode))
    guest.start(SPIN)
    threading.Timer(0.05, guest.machine.interrupt).start()
    assert guest.machine.run().reason is Reason.REQUEST
    guest.machine.close()


def test_a_request_before_the_run_is_not_lost(guest: Guest):
    guest.start(SPIN)
    guest.machine.interrupt()
    assert guest.machine.run().reason is Reason.REQUEST
    assert guest.machine.processors[0].rax == 0


def test_poll_hears_how_long_there_is(guest: Guest):
    asked: list[float | None] = []

    def poll(seconds):
        asked.append(seconds)
        return len(asked) > 3

    guest.machine.poll = poll
    guest.start(HLT)
    assert guest.machine.run().reason is Reason.REQUEST
    assert asked == [None] * 4
    asked.clear()
    guest.machine.processors[0].start(rip=KERNEL + 0x100, rsp=STACK, cr3=guest.space.cr3)
    guest.space.write(KERNEL + 0x100, SPIN)
    assert guest.machine.run().reason is Reason.REQUEST
    assert asked == [0.0] * 4


def test_poll_waits_in_wall_time():
    asked: list[float] = []

    def poll(seconds):
        asked.append(seconds)
        if seconds:
            time.sleep(seconds)
        return False

    guest = Guest(clock=Clock(ClockMode.WALL))
    guest.machine.poll = poll
    guest.start(IDLE_LOOP)
    assert guest.machine.run(until=3_000_000).reason is Reason.UNTIL
    # However late a busy host gives us our turn: we sleep, and not beyond the end.
    assert 0 < max(asked) <= 0.3
    guest.machine.close()


def test_interrupts_wake_a_halted_processor(guest: Guest):
    guest.handler(CLOCK_VECTOR, b"\x48\xff\xc3" + IRETQ)
    cpu = guest.start(IDLE_LOOP)
    assert guest.machine.run().reason is Reason.IDLE
    guest.machine.break_in()
    assert guest.machine.run().reason is Reason.IDLE
    assert (cpu.rbx, cpu.rip, cpu.halted) == (1, KERNEL + 2, True)


def test_a_processor_halted_with_interrupts_off_stays(guest: Guest):
    cpu = guest.start(HLT + HLT)
    guest.machine.raise_interrupt(0, CLOCK_VECTOR)
    assert guest.machine.run().reason is Reason.IDLE
    assert (cpu.rip, cpu.pending) == (KERNEL + 1, {CLOCK_VECTOR})


def test_a_masked_interrupt_is_soon_taken(guest: Guest):
    """Raised while CR8 is high, it comes within a short slice of CR8's fall."""
    guest.handler(CLOCK_VECTOR, HLT)
    # sti; mov eax,0Fh; mov cr8,rax; mov ecx,3000; dec/jnz; xor eax,eax; mov cr8,rax; inc rbx; jmp
    code = STI + b"\xb8\x0f\0\0\0\x44\x0f\x22\xc0\xb9\xb8\x0b\0\0\xff\xc9\x75\xfc\x31\xc0"
    cpu = guest.start(code + b"\x44\x0f\x22\xc0\x48\xff\xc3\xeb\xfb")
    guest.machine.raise_interrupt(0, CLOCK_VECTOR)
    guest.machine.run()
    assert 0 < cpu.rbx < 500


def test_processors_take_turns():
    guest = Guest(processors=2)
    first, second = guest.start(SPIN), guest.start(SPIN, 1)
    guest.machine.run(until=10 * SLICE_INSTRUCTIONS * NS_PER_INSTRUCTION // 100)
    assert first.rax == second.rax == 5 * SLICE_INSTRUCTIONS // 2
    guest.machine.close()


def test_interprocessor_interrupts():
    """Processor 0 starts 1, sends it an interrupt and waits for what its handler writes."""
    guest = Guest(processors=2)
    machine = guest.machine
    worker = KERNEL + 0x9000

    def service(cpu: Processor) -> Outcome:
        if cpu.rax == 4:
            machine.start_processor(cpu, cpu.rcx, worker, STACK - 0x4000, 0x77)
            machine.processors[1].set_gdt(cpu.gdt_base, 0x57)
            machine.processors[1].set_idt(cpu.idt_base, 0xFFF)
        else:
            machine.send_ipi(cpu.rcx)
        cpu.rax = 0
        return Outcome.HANDLED

    machine.attach(service, None)
    guest.space.write(worker, IDLE_LOOP)
    guest.handler(IPI_VECTOR, mov_rax(DATA) + b"\x48\x89\x08" + IRETQ)  # mov [rax],rcx
    start = b"\xb8\x04\0\0\0" + mov_rcx(1) + SERVICE
    send = b"\xb8\x03\0\0\0" + mov_rcx(1) + SERVICE
    wait = mov_rax(DATA) + b"\x48\x83\x38\0\x74\xfa" + HLT  # cmp qword [rax],0; je
    guest.start(start + send + wait)
    assert machine.run().reason is Reason.IDLE
    assert guest.space.read_u64(DATA) == 0x77
    assert machine.processors[1].cr3 == guest.space.cr3
    assert machine.clock.now_ns() < 2 * SLICE_INSTRUCTIONS * NS_PER_INSTRUCTION
    with pytest.raises(TargetError, match="running already"):
        machine.start_processor(machine.processors[0], 1, 0, 0, 0)
    with pytest.raises(TargetError, match="no processor 2"):
        machine.send_ipi(2)
    machine.close()


@pytest.mark.parametrize(("restart", "reason"), [(False, Reason.POWER_OFF), (True, Reason.RESTART)])
def test_power(guest: Guest, restart, reason):
    def power(_cpu: Processor) -> Outcome:
        guest.machine.power(restart=restart)
        return Outcome.HANDLED

    guest.machine.attach(power, None)
    cpu = guest.start(SERVICE + b"\x48\xff\xc3" + HLT)
    assert guest.machine.run().reason is reason
    assert cpu.rbx == 0


def test_errors_of_callbacks_come_out(guest: Guest):
    def broken(_cpu: Processor) -> Outcome:
        raise ZeroDivisionError

    def refusing(_cpu: Processor) -> Outcome:
        raise TargetError("unknown machine service 99")

    guest.machine.attach(broken, None)
    cpu = guest.start(SERVICE + SERVICE + HLT)
    with pytest.raises(ZeroDivisionError):
        guest.machine.run()
    guest.machine.attach(refusing, None)
    stop = guest.machine.run()
    assert (stop.reason, stop.detail) == (Reason.ERROR, "unknown machine service 99")
    assert cpu.rip == KERNEL + 4


def test_a_service_may_yield_and_stop(guest: Guest):
    def both(cpu: Processor) -> Outcome:
        guest.machine.set_clock(cpu, guest.machine.clock.now() + 1)
        return Outcome.STOP

    guest.machine.attach(both, None)
    cpu = guest.start(SERVICE + HLT)
    assert guest.machine.run().reason is Reason.DEBUG
    assert cpu.rip == KERNEL + 2


def test_a_failed_service_leaves_no_trace(guest: Guest):
    def failing(cpu: Processor) -> Outcome:
        guest.machine.set_clock(cpu, guest.machine.clock.now() + 1)
        guest.machine.power(restart=True)
        raise TargetError("after all not")

    guest.machine.attach(failing, lambda _cpu, _vector: Outcome.STOP)
    guest.start(SERVICE + INT3 + HLT)
    assert guest.machine.run().reason is Reason.ERROR
    assert guest.machine.run().reason is Reason.DEBUG


def int3_loop(outcome: Outcome, lead: int, arm: bool) -> tuple[int, int, str]:
    """Two processors that take 3000 int3 each: stops, time, digest. Slices end between them."""
    guest = Guest(processors=2)

    def port(cpu: Processor, _vector: int) -> Outcome:
        cpu.dr0, cpu.dr7 = KERNEL + 0x7000 + (cpu.rcx & 1) * 8, 1 if arm else 0
        return outcome

    guest.machine.attach(None, port)
    loop = b"\x90" * lead + mov_rcx(3000) + INT3 + b"\x48\xff\xc0\x48\xff\xc9\x75\xf7" + HLT
    for number in range(2):
        guest.start(loop, number, KERNEL + number * 0x800)
    stops = 0
    while (stop := guest.machine.run()).reason is Reason.DEBUG:
        stops += 1
    assert stop.reason is Reason.IDLE
    assert [cpu.rax for cpu in guest.machine.processors] == [3000, 3000]
    result = stops, guest.machine.clock.now_ns(), guest.machine.digest()
    guest.machine.close()
    return result


@pytest.mark.parametrize("lead", range(4))
@pytest.mark.parametrize("arm", [False, True], ids=["plain", "with changing breakpoints"])
def test_debug_stops_change_nothing(lead, arm):
    """The same work in the same time, stopped at every turn or not, whatever the slice's end."""
    watched, unwatched = (int3_loop(way, lead, arm) for way in (Outcome.STOP, Outcome.HANDLED))
    assert (watched[0], unwatched[0]) == (6000, 0)
    assert watched[1:] == unwatched[1:]


def test_where_a_run_is_cut_changes_nothing():
    def run(*times: int) -> str:
        guest = Guest(processors=2)
        ticking(guest, SERVICE + STI + SPIN)
        guest.start(SPIN, 1, KERNEL + 0x900)
        for until in times:
            guest.machine.run(until=until)
        digest = guest.machine.digest()
        guest.machine.close()
        return digest

    whole = run(2_000_000)
    assert whole == run(2_000_000)
    assert whole == run(1, 77_777, 500_000, 1_999_999, 2_000_000)
    assert whole != run(2_100_000)


def test_a_machine_needs_a_processor():
    with pytest.raises(UserError, match="at least one"):
        Machine("1M", 0)


def resident_pages():
    return int(Path("/proc/self/statm").read_text().split()[1])


def test_memory_that_no_guest_has_touched_costs_nothing():
    before = resident_pages()
    machines = [Machine("512M", 2) for _ in range(5)]
    assert resident_pages() - before < 0.1 * 5 * (512 << 20) / mmap.PAGESIZE
    for machine in machines:
        machine.close()
