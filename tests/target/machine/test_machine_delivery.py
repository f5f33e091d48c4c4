"""Interrupts, exceptions and privilege changes."""

from __future__ import annotations

import pytest

from kdsim.errors import TargetError
from kdsim.target.machine.clock import NS_PER_INSTRUCTION
from kdsim.target.machine.machine import Reason
from kdsim.target.machine.processor import Exit, Outcome
from tests.target.machine.conftest import (
    CS0,
    CS3,
    DATA,
    HLT,
    INT3,
    IRETQ,
    IST_STACK,
    KERNEL,
    POP_ERROR_CODE,
    RING0_STACK,
    SERVICE,
    SS0,
    SS3,
    STACK,
    STI,
    USER_CODE,
    USER_STACK,
    Calls,
    Guest,
    mov_rax,
    mov_rcx,
)

READ_DATA = b"\x48\x8b\x08"  # mov rcx,[rax]
WRITE_DATA = b"\x48\x89\x08"  # mov [rax],rcx


@pytest.mark.parametrize(
    ("code", "vector", "error_code", "at"),
    [
        pytest.param(mov_rax(0x1234_5000) + READ_DATA, 14, 0, 10, id="#PF read"),
        pytest.param(mov_rax(0x1234_5000) + WRITE_DATA, 14, 2, 10, id="#PF write"),
        pytest.param(mov_rax(1 << 47) + READ_DATA, 13, 0, 10, id="#GP not canonical"),
        pytest.param(b"\x31\xc9\xf7\xf9", 0, None, 2, id="#DE"),  # xor ecx,ecx; idiv ecx
        pytest.param(b"\x0f\x0b", 6, None, 0, id="#UD"),
        pytest.param(b"\x90\x0f\x01\xc1", 6, None, 1, id="vmcall"),
        pytest.param(b"\x8e\xd0", 13, 0xDEAC, 0, id="#GP bad selector"),  # mov ss,eax
    ],
)
def test_faults_push_their_frame(guest: Guest, code, vector, error_code, at):
    guest.handler(vector, HLT)
    cpu = guest.start(code)
    cpu.rax, cpu.rflags = 0xDEAD, 0x246
    assert cpu.run(count=1000) is Exit.HALTED
    frame = guest.frame(cpu.rsp, 5 if error_code is None else 6)
    if error_code is not None:
        assert frame[0] == error_code
        frame = frame[1:]
    rip, cs, flags, rsp, ss = frame
    assert (rip, cs, rsp, ss) == (KERNEL + at, CS0, STACK, SS0)
    assert flags & 0x10202 == 0x10202  # RF, IF and the bit that is always set
    assert not cpu.rflags & 0x200
    assert cpu.rsp % 16 == (8 if error_code is None else 0)


def test_page_faults_one_after_the_other(guest: Guest):
    """The engine would turn the second into a double fault, the third into a silent halt."""
    # The handler counts, skips the faulting instruction, returns.
    guest.handler(14, b"\x48\xff\xc3" + POP_ERROR_CODE + b"\x48\x83\x04\x24\x03" + IRETQ)
    # mov ecx,1000; again: mov rdx,[rax]; dec ecx; jnz again
    cpu = guest.start(b"\xb9\xe8\x03\0\0" + b"\x48\x8b\x10" + b"\xff\xc9\x75\xf9" + HLT)
    assert cpu.run(count=100_000) is Exit.HALTED
    assert cpu.rbx == 1000
    assert cpu.cr2 == 0


def test_page_fault_hook_comes_first(guest: Guest):
    faults = []

    def map_it(cpu, va, error_code):
        faults.append((va, error_code))
        if va != 0x700_0000:
            return Outcome.DECLINED
        guest.space.map(va, 0x50_0000)
        return Outcome.HANDLED

    cpu = guest.start(mov_rax(0x700_0000) + WRITE_DATA + READ_DATA + HLT)
    cpu.rcx, cpu.on_fault = 77, map_it
    assert cpu.run(count=100) is Exit.HALTED
    assert (faults, cpu.rcx) == ([(0x700_0000, 2)], 77)


@pytest.mark.parametrize("rsp", [STACK, STACK - 8, STACK - 1, STACK - 13])
def test_the_stack_is_aligned(guest: Guest, rsp):
    guest.handler(0x20, HLT)
    cpu = guest.start(b"\xcd\x20")
    cpu.rsp = rsp
    cpu.run(count=10)
    assert cpu.rsp == (rsp & ~15) - 40
    assert guest.frame(cpu.rsp)[3] == rsp


def test_interrupt_and_trap_gates(guest: Guest):
    for vector, trap, flags in ((0x20, False, 0), (0x21, True, 0x200)):
        guest.handler(vector, HLT, trap=trap)
        cpu = guest.start(bytes((0xCD, vector)))
        cpu.rflags = 0x202
        cpu.run(count=10)
        assert cpu.rflags & 0x200 == flags


def test_iret_returns_to_where_it_came_from(guest: Guest):
    guest.handler(0x20, b"\x48\xff\xc3" + IRETQ)
    cpu = guest.start(b"\xcd\x20\x48\xff\xc0" + HLT)
    cpu.rsp = STACK - 24
    cpu.run(count=100)
    assert (cpu.rbx, cpu.rax, cpu.rsp, cpu.cs) == (1, 1, STACK - 24, CS0)


def test_ist_gates_switch_the_stack(guest: Guest):
    guest.handler(2, HLT, ist=1)
    cpu = guest.start(b"\xeb\xfe")
    cpu.inject(2)
    cpu.run(count=10)
    assert cpu.rsp == IST_STACK - 40
    assert guest.frame(cpu.rsp) == (KERNEL, CS0, 0x2, STACK, SS0)


@pytest.mark.parametrize(
    ("code", "vector", "error_code", "at"),
    [
        pytest.param(mov_rax(KERNEL) + READ_DATA, 14, 5, 10, id="#PF kernel read"),
        pytest.param(mov_rax(KERNEL) + WRITE_DATA, 14, 7, 10, id="#PF kernel write"),
        pytest.param(mov_rax(USER_STACK) + b"\xff\xe0", 14, 0x15, None, id="#PF no execute"),
        pytest.param(HLT, 13, 0, 0, id="#GP hlt"),
        pytest.param(b"\x90" + SERVICE, 13, 0x81 << 3 | 2, 1, id="#GP service"),
        pytest.param(b"\x90\xcd\x20", 13, 0x20 << 3 | 2, 1, id="#GP gate of ring 0"),
        pytest.param(b"\x90\xcc", 3, None, 2, id="int3"),
        pytest.param(b"\x90\xcd\x03", 3, None, 3, id="int 3"),
        pytest.param(b"\x90\xcd\x2d\xcc", 0x2D, None, 3, id="int 2dh"),
        pytest.param(b"\x0f\x0b", 6, None, 0, id="#UD"),
    ],
)
def test_from_ring_3(guest: Guest, code, vector, error_code, at):
    for gate in (0x20, 6, 13, 14):
        guest.handler(gate, HLT)
    for gate in (3, 0x2D):
        guest.handler(gate, HLT, dpl=3)
    cpu = guest.enter_user(code)
    guest.machine.attach(Calls(), lambda _cpu, _vector: Outcome.STOP)
    assert cpu.run(count=100) is Exit.HALTED
    frame = guest.frame(cpu.rsp, 5 if error_code is None else 6)
    if error_code is not None:
        assert frame[0] == error_code
        frame = frame[1:]
    rip, cs, _flags, rsp, ss = frame
    assert rip == (USER_STACK if at is None else USER_CODE + at)
    assert (cs, rsp, ss) == (CS3, USER_STACK + 0x8000, SS3)
    assert (cpu.cpl, cpu.cs, cpu.ss) == (0, CS0, 0)
    assert RING0_STACK - 48 <= cpu.rsp < RING0_STACK


def test_int3_below_its_gate_is_reported_on_itself(guest: Guest):
    guest.handler(3, HLT)
    guest.handler(13, HLT)
    cpu = guest.enter_user(b"\x90\xcc")
    assert cpu.run(count=100) is Exit.HALTED
    assert guest.frame(cpu.rsp, 2) == (3 << 3 | 2, USER_CODE + 1)


def test_ring_3_and_back_again(guest: Guest):
    """A fault in ring 3, its handler in ring 0, and iretq back to ring 3."""
    skip_ud2 = b"\x48\x83\x04\x24\x02"  # add qword [rsp],2
    guest.handler(6, b"\x48\xff\xc3" + skip_ud2 + IRETQ)
    guest.handler(13, HLT)
    cpu = guest.enter_user(b"\x0f\x0b" * 3 + HLT)
    assert cpu.run(count=1000) is Exit.HALTED
    assert (cpu.rbx, guest.frame(cpu.rsp, 2)) == (3, (0, USER_CODE + 6))


def test_syscall_and_sysret(guest: Guest):
    entry = KERNEL + 0x8000
    guest.space.write(entry, b"\x48\xff\xc3\x48\x0f\x07")  # inc rbx; sysretq
    guest.handler(13, HLT)
    cpu = guest.enter_user(b"\x90\x0f\x05\x90" + HLT, flags=0x247)
    # Windows': kernel 10/18, user 20 + 16 and + 8.
    cpu.star, cpu.lstar, cpu.sfmask = 0x0023_0010_0000_0000, entry, 0x4700
    assert cpu.run(count=1000) is Exit.HALTED
    assert cpu.rbx == 1
    assert cpu.rcx == USER_CODE + 3
    assert cpu.r11 & 0xFFFF == 0x247
    error_code, rip, cs, flags, _rsp, ss = guest.frame(cpu.rsp, 6)
    assert (error_code, rip, cs, ss) == (0, USER_CODE + 4, CS3, SS3)
    assert flags & 0xFFF == 0x247


def test_syscall_enters_ring_0_with_masked_flags(guest: Guest):
    entry = KERNEL + 0x8000
    guest.space.write(entry, HLT)
    cpu = guest.enter_user(b"\x0f\x05", flags=0x247)
    cpu.star, cpu.lstar, cpu.sfmask = 0x0023_0010_0000_0000, entry, 0x4700
    assert cpu.run(count=1000) is Exit.HALTED
    assert (cpu.cpl, cpu.cs, cpu.ss, cpu.rip) == (0, CS0, SS0, entry + 1)
    assert cpu.rflags == 0x47


def test_syscall_while_off_is_undefined(guest: Guest):
    guest.handler(6, HLT)
    cpu = guest.enter_user(b"\x0f\x05")
    cpu.set_control(efer=0xD00)
    assert cpu.run(count=1000) is Exit.HALTED
    assert guest.frame(cpu.rsp)[:2] == (USER_CODE, CS3)


def test_an_unpushable_frame_is_a_double_fault(guest: Guest):
    guest.handler(6, HLT)
    handler = guest.handler(8, HLT, ist=1)
    cpu = guest.start(b"\x0f\x0b")
    cpu.rsp = 0x1000
    assert cpu.run(count=10) is Exit.HALTED
    assert cpu.rip == handler + 1
    assert guest.frame(cpu.rsp, 6) == (0, KERNEL, CS0, 0x2, 0x1000, SS0)
    assert cpu.cr2 == 0xFD8


def test_a_read_only_stack_is_a_double_fault(guest: Guest):
    guest.handler(6, HLT)
    guest.handler(8, HLT, ist=1)
    cpu = guest.start(b"\x0f\x0b")
    guest.space.protect(STACK - 0x1000, 0x1000, writable=False, executable=False)
    assert cpu.run(count=10) is Exit.HALTED
    assert cpu.rsp == IST_STACK - 48


def test_a_frame_across_two_pages(guest: Guest):
    guest.handler(0x20, HLT)
    cpu = guest.start(b"\xcd\x20")
    cpu.rsp = STACK - 0x1000 + 16
    cpu.run(count=10)
    assert guest.frame(cpu.rsp) == (KERNEL + 2, CS0, 0x2, STACK - 0x1000 + 16, SS0)


@pytest.mark.parametrize(
    ("prepare", "text"),
    [
        pytest.param(lambda g, c: None, "vector 0x6 has no handler", id="no gate"),
        pytest.param(lambda g, c: c.set_idt(KERNEL, 0x1F), "triple fault: vector 0x6", id="short"),
        pytest.param(
            lambda g, c: (g.handler(6, HLT), g.handler(8, HLT), setattr(c, "rsp", 0x1000)),
            "triple fault.*stack: Memory access error.*PDE not present",
            id="no stack",
        ),
        pytest.param(
            lambda g, c: (g.handler(6, HLT), g.handler(8, HLT), c.set_gdt(0x1000, 0x57)),
            "triple fault.*GDT",
            id="no GDT",
        ),
    ],
)
def test_what_stops_the_machine(guest: Guest, prepare, text):
    cpu = guest.start(b"\x0f\x0b")
    prepare(guest, cpu)
    stop = guest.machine.run()
    assert stop.reason is Reason.ERROR
    with pytest.raises(TargetError, match=text):
        raise TargetError(stop.detail)


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(READ_DATA, id="read"),
        pytest.param(WRITE_DATA, id="write"),
        pytest.param(b"\xff\xe0", id="execute"),
    ],
)
def test_a_bus_error_stops_the_machine(guest: Guest, code):
    guest.space.map(0x700_0000, 0x4000_0000)
    guest.start(mov_rax(0x700_0010) + code + HLT)
    stop = guest.machine.run()
    assert stop.reason is Reason.ERROR
    assert "bus error: processor 0 used physical address 0x40000010" in stop.detail
    rip = 0x700_0010 if code == b"\xff\xe0" else KERNEL + 10
    assert f"RIP {rip:#x}" in stop.detail


def test_services(guest: Guest):
    calls = Calls(0x11, 0x22)
    guest.machine.attach(calls, None)
    code = b"\xb8\x02\0\0\0" + mov_rcx(7) + SERVICE + b"\x48\x89\xc3" + SERVICE + HLT
    cpu = guest.start(code)
    assert cpu.run(count=100) is Exit.HALTED
    assert calls.seen == [(2, 7), (0x11, 7)]
    assert (cpu.rbx, cpu.rax, cpu.executed) == (0x11, 0x22, 6)


def test_debug_traps_are_offered_then_delivered(guest: Guest):
    seen = []

    def decline(cpu, vector):
        seen.append((vector, cpu.rip - KERNEL))
        return Outcome.DECLINED

    guest.machine.attach(None, decline)
    for vector in (3, 0x2D):
        guest.handler(vector, b"\x48\xff\xc3" + IRETQ)
    cpu = guest.start(INT3 + b"\xcd\x2d" + b"\xcd\x03" + HLT)
    assert cpu.run(count=100) is Exit.HALTED
    assert seen == [(3, 1), (0x2D, 3), (3, 5)]
    assert cpu.rbx == 3


def test_a_callback_may_move_rip_and_stop(guest: Guest):
    def skip(cpu, vector):
        cpu.rip += 2
        cpu.rcx = 99
        return Outcome.STOP

    guest.machine.attach(None, skip)
    cpu = guest.start(INT3 + b"\x0f\x0b" + b"\x48\xff\xc1" + HLT)
    assert guest.machine.run().reason is Reason.DEBUG
    assert (cpu.rip, cpu.rcx) == (KERNEL + 3, 99)
    assert guest.machine.run().reason is Reason.IDLE
    assert cpu.rcx == 100


@pytest.mark.parametrize(
    ("code", "rips"),
    [
        pytest.param(b"\x90\x48\x89\xc3\x90", [1, 4, 5, 6], id="plain"),
        pytest.param(b"\x90" + SERVICE + b"\x90", [1, 3, 4, 5], id="over a service"),
        pytest.param(b"\xeb\x02\x90\x90\x90", [4, 5, 6], id="jump"),
    ],
)
def test_single_step(guest: Guest, code, rips):
    seen = []

    def step(cpu, vector):
        seen.append((vector, cpu.rip - KERNEL, cpu.dr6 & 0x4000))
        return Outcome.HANDLED

    guest.machine.attach(Calls(), step)
    cpu = guest.start(code + b"\x90" + HLT)
    cpu.rflags |= 0x100
    assert cpu.run(count=100) is Exit.HALTED
    assert seen == [(1, rip, 0x4000) for rip in rips]


def test_single_step_in_ring_3_goes_to_the_idt(guest: Guest):
    guest.handler(1, HLT)
    cpu = guest.enter_user(b"\x90\x90", flags=0x302)
    guest.machine.attach(None, lambda _cpu, _vector: Outcome.STOP)
    assert cpu.run(count=100) is Exit.HALTED
    assert guest.frame(cpu.rsp)[:3] == (USER_CODE + 1, CS3, 0x302)
    assert not cpu.rflags & 0x100


@pytest.mark.parametrize(
    ("flags", "cr8", "vector", "taken"),
    [
        pytest.param(0x202, 0, 0xD1, True, id="open"),
        pytest.param(0x2, 0, 0xD1, False, id="IF clear"),
        pytest.param(0x202, 0xD, 0xD1, False, id="CR8 equal"),
        pytest.param(0x202, 0xC, 0xD1, True, id="CR8 below"),
        pytest.param(0x202, 2, 0x2F, False, id="low vector"),
    ],
)
def test_interrupts_respect_if_and_cr8(guest: Guest, flags, cr8, vector, taken):
    handler = guest.handler(vector, HLT)
    cpu = guest.start(b"\x90" * 4 + HLT)
    cpu.rflags, cpu.cr8 = flags, cr8
    cpu.pending.add(vector)
    assert cpu.accept_interrupt() is taken
    assert cpu.rip == (handler if taken else KERNEL)
    assert cpu.pending == (set() if taken else {vector})


def test_the_highest_vector_goes_first(guest: Guest):
    first, second = guest.handler(0xE1, HLT), guest.handler(0xD1, HLT)
    cpu = guest.start(HLT)
    cpu.rflags = 0x202
    cpu.pending |= {0xD1, 0xE1}
    cpu.accept_interrupt()
    assert (cpu.rip, cpu.pending) == (first, {0xD1})
    assert second != first


def test_the_sti_shadow(guest: Guest):
    """Nothing comes between STI and the instruction behind it."""
    guest.handler(0xD1, HLT)
    cpu = guest.start(STI + b"\x90" + HLT)
    cpu.pending.add(0xD1)
    cpu.run(count=1)
    assert cpu.rflags & 0x200
    assert not cpu.accept_interrupt()
    cpu.run(count=1)
    assert cpu.accept_interrupt()


def test_cr8_is_a_register(guest: Guest):
    # mov rax,cr8; mov ecx,0Dh; mov cr8,rcx; hlt
    cpu = guest.start(b"\x44\x0f\x20\xc0\xb9\x0d\0\0\0\x44\x0f\x22\xc1" + HLT)
    cpu.cr8 = 2
    cpu.run(count=10)
    assert (cpu.rax, cpu.cr8) == (2, 0xD)


def test_rdtsc_counts_machine_time(guest: Guest):
    rdtsc = b"\x0f\x31\x48\xc1\xe2\x20\x48\x09\xd0"  # rdtsc; shl rdx,32; or rax,rdx
    guest.start(b"\x90" * 5 + rdtsc + b"\x48\x89\xc3" + rdtsc + HLT)
    guest.machine.clock.skip_to(5 << 32)
    guest.machine.run()
    cpu = guest.machine.processors[0]
    assert cpu.rbx == (5 << 32) + 6 * NS_PER_INSTRUCTION
    assert cpu.rax - cpu.rbx == 4 * NS_PER_INSTRUCTION


def test_rdtscp_gives_the_processor_number(guest: Guest):
    cpu = guest.start(b"\x0f\x01\xf9" + HLT)
    cpu.tsc_aux = 3
    guest.machine.run()
    assert (cpu.rcx, cpu.rdx) == (3, 0)


def test_swapgs_and_msrs(guest: Guest):
    # swapgs; mov rbx,gs:[0]; mov ecx,0C0000102h; rdmsr; hlt
    code = b"\x0f\x01\xf8\x65\x48\x8b\x1c\x25\0\0\0\0\xb9\x02\x01\0\xc0\x0f\x32" + HLT
    cpu = guest.start(code)
    guest.space.write_u64(DATA, 0xABCD)
    cpu.kernel_gs_base, cpu.gs_base = DATA, 0x1122_3344_5566
    cpu.run(count=10)
    assert (cpu.rbx, cpu.rax, cpu.rdx) == (0xABCD, 0x3344_5566, 0x1122)
    assert cpu.read_msr(0xC000_0101) == DATA
    assert cpu.read_msr(0x123) is None
    assert not cpu.write_msr(0x123, 0)
    assert cpu.write_msr(0xC000_0100, 77)
    assert cpu.fs_base == 77
