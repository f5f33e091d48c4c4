"""Hardware breakpoints and changed code, with counted and with timed slices."""

from __future__ import annotations

import pytest

from kdsim.target.machine.machine import Reason
from kdsim.target.machine.processor import Outcome, Processor
from tests.target.machine.conftest import DATA, HLT, INT3, KERNEL, Guest, mov_rax, mov_rcx

# Offsets after each: 0Dh read, 14h dword store, 18h read-modify-write, 1Dh byte 3, 22h byte 4.
ACCESSES = (
    mov_rax(DATA)
    + b"\x48\x8b\x18"  # mov rbx,[rax]
    + b"\x90\xc7\x00\x05\0\0\0"  # nop; mov dword [rax],5
    + b"\x90\x48\xff\x00"  # nop; inc qword [rax]
    + b"\x90\xc6\x40\x03\x07"  # nop; mov byte [rax+3],7
    + b"\x90\xc6\x40\x04\x08"  # nop; mov byte [rax+4],8
    + b"\x90"
    + HLT
)
EXECUTE, WRITE, ACCESS = 0, 1, 3
LENGTH = {1: 0, 2: 1, 4: 3, 8: 2}


def dr7(index: int, kind: int, size: int) -> int:
    return 1 << index * 2 | kind << 16 + index * 4 | LENGTH[size] << 18 + index * 4


class Port:
    """Records debug traps as (offset, DR6's low bits)."""

    def __init__(self, guest: Guest, outcome: Outcome = Outcome.HANDLED) -> None:
        self.seen: list[tuple[int, int]] = []
        self.vectors: set[int] = set()
        self._outcome = outcome
        guest.machine.attach(None, self)

    def __call__(self, cpu: Processor, vector: int) -> Outcome:
        self.vectors.add(vector)
        self.seen.append((cpu.rip - KERNEL, cpu.dr6 & 0x400F))
        return self._outcome


@pytest.mark.parametrize(
    ("kind", "size", "address", "after"),
    [
        pytest.param(WRITE, 4, DATA, [0x14, 0x18, 0x1D], id="write 4"),
        pytest.param(WRITE, 1, DATA + 4, [0x18, 0x22], id="write 1, reached from below"),
        pytest.param(WRITE, 2, DATA + 2, [0x14, 0x18, 0x1D], id="write 2"),
        pytest.param(ACCESS, 8, DATA, [0xD, 0x14, 0x18, 0x1D, 0x22], id="access 8"),
        pytest.param(ACCESS, 1, DATA + 7, [0xD, 0x18], id="access 1"),
        pytest.param(WRITE, 8, DATA + 8, [], id="beside"),
        pytest.param(WRITE, 8, 0x6666_0000, [], id="not mapped"),
    ],
)
def test_data_breakpoints_trap_after_the_access(any_guest: Guest, kind, size, address, after):
    port = Port(any_guest)
    cpu = any_guest.start(ACCESSES)
    cpu.dr2, cpu.dr7 = address, dr7(2, kind, size)
    assert any_guest.machine.run().reason is Reason.IDLE
    assert port.seen == [(offset, 4) for offset in after]
    assert any_guest.space.read(DATA, 8) == bytes((6, 0, 0, 7, 8, 0, 0, 0))


def test_the_value_is_there_when_the_breakpoint_reports(any_guest: Guest):
    port = Port(any_guest, Outcome.STOP)
    cpu = any_guest.start(ACCESSES)
    cpu.dr0, cpu.dr7 = DATA, dr7(0, WRITE, 8)
    seen = []
    while any_guest.machine.run().reason is Reason.DEBUG:
        seen.append((cpu.rip - KERNEL, any_guest.space.read_u64(DATA)))
    assert seen == [(0x14, 5), (0x18, 6), (0x1D, 0x0700_0006), (0x22, 0x8_0700_0006)]
    assert port.vectors == {1}


@pytest.mark.parametrize("outcome", [Outcome.HANDLED, Outcome.STOP])
def test_execute_breakpoints_trap_before_and_once(any_guest: Guest, outcome):
    port = Port(any_guest, outcome)
    # nop x4; inc rax; nop; nop; hlt, all of it twice
    code = b"\x90" * 4 + b"\x48\xff\xc0" + b"\x90\x90"
    cpu = any_guest.start(b"\xb9\x02\0\0\0" + code + b"\xff\xc9\x75\xf3" + HLT)
    cpu.dr0, cpu.dr1, cpu.dr3 = KERNEL + 6, KERNEL + 7, KERNEL + 9
    cpu.dr7 = 1 | 4 | 64
    reasons = set()
    while (stop := any_guest.machine.run()).reason is Reason.DEBUG:
        reasons.add(stop.reason)
        assert not cpu.rflags & 0x10000
    assert stop.reason is Reason.IDLE
    assert port.seen == [(6, 1), (7, 2), (9, 8)] * 2
    assert cpu.rax == 2


def test_a_breakpoint_left_by_moving_rip_hits_again(any_guest: Guest):
    Port(any_guest, Outcome.STOP)
    cpu = any_guest.start(b"\x90\x90\x90" + HLT)
    cpu.dr0, cpu.dr7 = KERNEL + 1, 1
    any_guest.machine.run()
    cpu.rip = KERNEL
    assert any_guest.machine.run().reason is Reason.DEBUG
    assert cpu.rip == KERNEL + 1


def test_an_interrupt_does_not_make_it_hit_twice(guest: Guest):
    port = Port(guest, Outcome.STOP)
    guest.handler(0xD1, b"\x48\xff\xc3\x48\xcf")
    cpu = guest.start(b"\x90\x90\x90" + HLT)
    cpu.rflags = 0x202
    cpu.dr0, cpu.dr7 = KERNEL + 1, 1
    assert guest.machine.run().reason is Reason.DEBUG
    guest.machine.left = 0
    cpu.pending.add(0xD1)
    assert guest.machine.run().reason is Reason.IDLE
    assert (len(port.seen), cpu.rbx) == (1, 1)


def test_breakpoints_follow_the_page_tables(guest: Guest):
    port = Port(guest)
    write = b"\x48\x89\x08"  # mov [rax],rcx
    cpu = guest.start(mov_rax(DATA) + write + HLT)
    cpu.dr0, cpu.dr7 = DATA, dr7(0, WRITE, 8)
    guest.machine.run()
    guest.space.map(DATA, 0x60_0000)
    guest.machine.flush_tlb()
    cpu.rip, cpu.halted = KERNEL, False
    guest.machine.run()
    assert port.seen == [(13, 1)] * 2
    assert guest.ram.read_u64(0x60_0000) == cpu.rcx


def test_breakpoints_set_and_cleared_by_the_port_take_effect_at_once(any_guest: Guest):
    seen = []

    def port(cpu: Processor, vector: int) -> Outcome:
        seen.append((vector, cpu.rip - KERNEL))
        cpu.dr0, cpu.dr7 = KERNEL + 3, 1 if vector == 3 else 0
        return Outcome.HANDLED

    any_guest.machine.attach(None, port)
    any_guest.start(INT3 + b"\x90" * 4 + b"\xeb\xfc" + HLT)  # ends in a loop over +3
    assert any_guest.machine.run(until=100_000).reason is Reason.UNTIL
    assert seen == [(3, 1), (1, 3)]


def test_breakpoints_the_guest_sets_itself(any_guest: Guest):
    port = Port(any_guest)
    # mov rax,target; mov dr0,rax; mov eax,1; mov dr7,rax; nops; target: nop; hlt
    code = mov_rax(KERNEL + 0x20) + b"\x0f\x23\xc0\xb8\x01\0\0\0\x0f\x23\xf8"
    any_guest.start(code.ljust(0x20, b"\x90") + b"\x90" + HLT)
    assert any_guest.machine.run().reason is Reason.IDLE
    assert port.seen == [(0x20, 1)]


def test_stepping_onto_a_data_breakpoint_reports_both(any_guest: Guest):
    port = Port(any_guest)
    cpu = any_guest.start(mov_rax(DATA) + b"\x48\x89\x08\x90" + HLT)
    cpu.dr0, cpu.dr7 = DATA, dr7(0, WRITE, 8)
    cpu.rflags |= 0x100
    any_guest.machine.run()
    assert port.seen[:2] == [(10, 0x4000), (13, 0x4001)]
    assert [offset for offset, _ in port.seen] == [10, 13, 14]


def test_counts_stay_exact_over_breakpoints(guest: Guest):
    Port(guest, Outcome.STOP)
    cpu = guest.start(ACCESSES)
    cpu.dr0, cpu.dr1 = DATA, KERNEL + 0xD
    cpu.dr7 = dr7(0, ACCESS, 8) | dr7(1, EXECUTE, 1)
    while guest.machine.run().reason is Reason.DEBUG:
        pass
    assert guest.machine.clock.now_ns() == 12 * 10


def test_speed_comes_back_when_the_last_breakpoint_goes(guest: Guest):
    cpu = guest.start(mov_rcx(1000) + b"\x48\xff\xc9\x75\xfb" + HLT)
    cpu.dr0, cpu.dr7 = DATA, dr7(0, ACCESS, 8)
    cpu.run(count=10)
    assert len(cpu.engine.hooks) == 7
    cpu.dr7 = 0
    cpu.run(count=10)
    assert len(cpu.engine.hooks) == 6


@pytest.mark.parametrize("ring", [0, 3])
def test_code_written_through_a_space_is_executed(ring):
    """Also when the processor that translated it is in ring 3 just then."""
    guest = Guest()
    handler = guest.handler(6, b"\xb8\x01\0\0\0\x48\x83\x04\x24\x02\x48\xcf")  # mov eax,1 ...
    if ring == 3:
        cpu = guest.enter_user(b"\x0f\x0b\x90\xeb\xfb")
    else:
        cpu = guest.start(b"\x0f\x0b\x90\xeb\xfb")
    cpu.run(count=ring + 9)
    while cpu.cpl != ring or cpu.rax != 1:
        cpu.run(count=1)
    cpu.cr2 = 0x1234
    space = guest.machine.address_space(guest.space.cr3)
    space.write(handler + 1, b"\x02")
    assert (cpu.cpl, cpu.cr2) == (ring, 0x1234)
    cpu.run(count=20)
    assert cpu.rax == 2
    guest.machine.write_physical(guest.space.physical(handler + 1), b"\x03")
    cpu.run(count=20)
    assert cpu.rax == 3
    guest.machine.close()


def test_code_written_for_another_processor():
    guest = Guest(processors=2)
    code = b"\xb8\x01\0\0\0\xeb\xf9"  # mov eax,1; jmp back
    first, second = guest.start(code), guest.start(code, 1)
    for cpu in (first, second):
        cpu.run(count=10)
        assert cpu.rax == 1
    first.space.write(KERNEL + 1, b"\x07")
    for cpu in (first, second):
        cpu.run(count=10)
        assert cpu.rax == 7
    guest.machine.close()
