"""Saved machines, digests, processor states."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsim.errors import FormatError
from kdsim.target.machine.machine import CLOCK_VECTOR, Machine, Reason
from kdsim.target.machine.processor import Outcome, Processor
from kdsim.target.machine.ram import PhysicalMemory
from kdsim.target.machine.registers import STATE_SIZE, Registers
from tests.target.machine.conftest import (
    DATA,
    HLT,
    KERNEL,
    SERVICE,
    STI,
    Calls,
    Guest,
    mov_rax,
    tick_service,
)

# Stores, floating point, SSE and flags in a loop that never ends.
_BODY = (
    mov_rax(DATA)
    + b"\x48\x01\x08"  # add [rax],rcx
    + b"\x48\xff\xc1"  # inc rcx
    + b"\x81\xe1\xff\x0f\0\0"  # and ecx,0FFFh
    + b"\xf2\x48\x0f\x2a\xc1"  # cvtsi2sd xmm0,rcx
    + b"\xf2\x0f\x51\xc8"  # sqrtsd xmm1,xmm0
    + b"\xd9\xeb\xd9\xfa"  # fldpi; fsqrt
    + b"\xdd\xd8"  # fstp st0
    + b"\xf2\x0f\x11\x4c\xc8\x08"  # movsd [rax+rcx*8+8],xmm1
)
BUSY = STI + SERVICE + _BODY + b"\xeb" + bytes((256 - len(_BODY) - 2,))

# Continues a saved machine and prints its digests; what a fresh process does.
CONTINUE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.target.machine.conftest import tick_service
from kdsim.target.machine.machine import Machine
machine = Machine.load(Path(sys.argv[2]))
machine.attach(tick_service(machine), None)
for until in sys.argv[3:]:
    machine.run(until=int(until))
    print(machine.digest())
"""


def busy_guest() -> Guest:
    guest = Guest(processors=2)
    guest.handler(
        CLOCK_VECTOR, b"\x50\x51" + SERVICE + b"\x0f\x31\x59\x58" + b"\x48\xff\xc3\x48\xcf"
    )
    guest.machine.attach(tick_service(guest.machine), None)
    guest.start(BUSY)
    guest.start(BUSY, 1, KERNEL + 0x800).rcx = 0x100
    return guest


def test_a_fresh_process_continues_with_the_same_bytes(tmp_path: Path):
    times = ("300000", "700000", "1500000")
    guest = busy_guest()
    guest.machine.run(until=123_456)
    guest.machine.save(tmp_path / "saved")
    wanted = []
    for until in times:
        assert guest.machine.run(until=int(until)).reason is Reason.UNTIL
        wanted.append(guest.machine.digest())
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            CONTINUE,
            str(Path(__file__).parents[3]),
            tmp_path / "saved",
            *times,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == wanted
    assert len(set(wanted)) == 3
    guest.machine.close()


def test_saving_keeps_everything(tmp_path: Path):
    guest = busy_guest()
    guest.machine.run(until=50_000)
    guest.machine.raise_interrupt(1, 0x2F)
    guest.machine.processors[0].dr0, guest.machine.processors[0].dr7 = KERNEL + 3, 0x1
    guest.machine.save(tmp_path / "saved")
    loaded = Machine.load(tmp_path / "saved")
    assert loaded.digest() == guest.machine.digest()
    for old, new in zip(guest.machine.processors, loaded.processors, strict=True):
        for name in old.names():
            assert getattr(new, name) == getattr(old, name), name
        assert new.fxsave() == old.fxsave()
        assert (new.pending, new.clock_due) == (old.pending, old.clock_due)
    assert loaded.clock.now_ns() == guest.machine.clock.now_ns()
    assert not (tmp_path / "saved.partial").exists()
    loaded.close()
    guest.machine.close()


def test_saving_in_ring_3(tmp_path: Path):
    guest = Guest()
    guest.handler(13, HLT)
    cpu = guest.enter_user(b"\x90" * 20 + HLT)
    cpu.run(count=5)
    guest.machine.save(tmp_path / "saved")
    loaded = Machine.load(tmp_path / "saved")
    assert loaded.processors[0].cpl == 3
    for machine in (guest.machine, loaded):
        machine.run()
    assert loaded.digest() == guest.machine.digest()
    loaded.close()
    guest.machine.close()


def test_saving_while_an_execute_breakpoint_is_being_left(tmp_path: Path):
    guest = Guest()
    guest.machine.attach(None, lambda _cpu, _vector: Outcome.STOP)
    cpu = guest.start(b"\x90\x90\x90" + HLT)
    cpu.dr0, cpu.dr7 = KERNEL + 1, 1
    assert guest.machine.run().reason is Reason.DEBUG
    guest.machine.save(tmp_path / "saved")
    loaded = Machine.load(tmp_path / "saved", None, lambda _cpu, _vector: Outcome.STOP)
    assert loaded.run().reason is Reason.IDLE
    loaded.close()
    guest.machine.close()


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        pytest.param(lambda data: b"", "not a saved machine", id="empty"),
        pytest.param(lambda data: b"MZ" + data[2:], "not a saved machine", id="magic"),
        pytest.param(lambda data: data[:8] + b"\x09" + data[9:], "format version 9", id="version"),
        pytest.param(lambda data: data[:-40], "damaged", id="short"),
        pytest.param(
            lambda data: data[:900] + bytes((data[900] ^ 1,)) + data[901:], "damaged", id="a byte"
        ),
        pytest.param(lambda data: data + b"x", "damaged", id="long"),
    ],
)
def test_damaged_files(tmp_path: Path, damage, text):
    guest = busy_guest()
    path = tmp_path / "saved"
    guest.machine.save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(FormatError, match=text):
        Machine.load(path)
    guest.machine.close()


def test_zero_pages_do_not_count(guest: Guest):
    before = guest.machine.digest()
    guest.ram.write(0x70_0000, b"\1")
    assert guest.machine.digest() != before
    guest.ram.write(0x70_0000, b"\0")
    assert guest.machine.digest() == before


@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(st.integers(0, (1 << 64) - 1), min_size=17, max_size=17),
    flags=st.sampled_from((0x2, 0x246, 0x247, 0xAD7, 0x302, 0x400 | 0x2)),
    area=st.binary(min_size=480, max_size=480),
    cr8=st.integers(0, 15),
)
def test_states_round_trip(values, flags, area, cr8):
    ram = PhysicalMemory("1M")
    first, second = Processor(0, ram), Processor(1, ram)
    first.start(rip=0, rsp=0, cr3=0x1000)
    names = [name for name in vars(Registers) if len(name) in (2, 3) and name.startswith("r")]
    for name, value in zip(names, values, strict=True):
        setattr(first, name, value)
    first.rflags, first.cr8 = flags, cr8
    first.fxrstor(bytes(24) + (0x1FBF).to_bytes(8, "little") + area)
    state = first.state()
    assert len(state) == STATE_SIZE
    second.load_state(state)
    assert second.state() == state
    assert [getattr(second, name) for name in names] == values
    assert (second.rflags, second.cr8) == (flags, cr8)
    assert second.fxsave() == first.fxsave()
    first.close()
    second.close()


def test_a_state_of_another_size():
    cpu = Processor(0, PhysicalMemory("1M"))
    with pytest.raises(FormatError, match="processor state"):
        cpu.load_state(bytes(7))
    cpu.close()


def test_fxsave_is_what_the_instruction_stores(guest: Guest):
    # fldpi; fld1; cvtsi2sd xmm3,rbx; fxsave64 [rax]; hlt
    code = b"\xd9\xeb\xd9\xe8\xf2\x48\x0f\x2a\xdb" + mov_rax(DATA) + b"\x48\x0f\xae\x00" + HLT
    cpu = guest.start(code)
    cpu.rbx = 12345
    cpu.run(count=100)
    stored, ours = guest.space.read(DATA, 416), cpu.fxsave()
    # FOP, RIP and RDP (bytes 6-23) are not kept by the engine's instruction.
    assert ours[:6] == stored[:6]
    assert ours[24:28] == stored[24:28]
    assert ours[32:416] == stored[32:416]


def test_fxrstor_reaches_the_instructions(guest: Guest):
    # mov rax,DATA; fxsave64 [rax]; hlt
    cpu = guest.start(mov_rax(DATA) + b"\x48\x0f\xae\x00" + HLT)
    area = bytearray(cpu.fxsave())
    area[0:5] = b"\x7f\x02\x00\x30\xc0"  # FCW, FSW with TOP 6, two registers in use
    area[24:28] = b"\xa0\x1f\0\0"
    area[32:42] = bytes(range(10))
    area[160:176] = bytes(range(16))
    cpu.fxrstor(bytes(area))
    assert cpu.fxsave() == bytes(area)
    cpu.run(count=100)
    stored = guest.space.read(DATA, 416)
    assert stored[:5] == area[:5]
    assert stored[24:28] == area[24:28]
    assert stored[32:416] == bytes(area[32:416])


def test_services_see_a_machine_that_was_loaded(tmp_path: Path):
    guest = Guest()
    guest.start(SERVICE + HLT)
    guest.machine.save(tmp_path / "saved")
    calls = Calls()
    loaded = Machine.load(tmp_path / "saved", calls)
    assert loaded.run().reason is Reason.IDLE
    assert calls.seen == [(0, 0)]
    loaded.close()
    guest.machine.close()
