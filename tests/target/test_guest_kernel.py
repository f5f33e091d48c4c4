"""The guest kernel's own bookkeeping, rebuilt from a booted machine's bytes."""

import struct

import pytest

from kdsim.symbols.frame import GENERAL, FrameRegisters
from kdsim.symbols.pe import PeImage
from kdsim.symbols.unwind import unwind
from kdsim.symbols.views import View
from tests.target.booted import Debugged

PAGE = 0x1000
SHARED_DATA = 0xFFFF_F780_0000_0000
WAITING, RUNNING = 5, 2
NOT_HANDLED = 0x8001_0001
KERNEL_HOLE = 0xFFFF_8000_0000_1000


def qwords(memory, va: int, count: int) -> tuple[int, ...]:
    return struct.unpack(f"<{count}Q", memory.read(va, 8 * count))


def test_version_block_leads_to_the_data_block(kernel) -> None:
    version = kernel.view("_DBGKD_GET_VERSION64", kernel.address("KdVersionBlock"))
    assert (version.MajorVersion, version.MinorVersion, version.ProtocolVersion) == (15, 19041, 6)
    assert (version.MachineType, version.Flags, version.KernBase) == (0x8664, 7, kernel.base)
    head = version.DebuggerDataList
    block, back = qwords(kernel.memory, head, 2)
    assert block == back == kernel.address("KdDebuggerDataBlock")
    assert qwords(kernel.memory, block, 2) == (head, head)
    assert kernel.memory.read(block + 16, 8) == b"KDBG" + (0x380).to_bytes(4, "little")
    for prcb in kernel.processors():
        pcr = kernel.view("_KPCR", prcb.address - kernel.record("_KPCR").size + prcb.record.size)
        assert pcr.KdVersionBlock == version.address


@pytest.mark.parametrize(
    "field",
    [
        *("PsLoadedModuleList", "PsActiveProcessHead", "PspCidTable", "KeTimeIncrement"),
        *("ObpRootDirectoryObject", "ObpTypeObjectType", "MmPfnDatabase", "PoolTrackTable"),
        *("MmHighestUserAddress", "MmSystemRangeStart", "MmUserProbeAddress", "KiProcessorBlock"),
        *("NtBuildLab", "MmUnloadedDrivers", "MmLastUnloadedDriver", "KernelVerifier"),
        *("MmVerifierData", "MmPhysicalMemoryBlock", "KdPrintBufferSize", "KeLoaderBlock"),
        *("ExpSystemResourcesList", "KdPrintRolloverCount", "KdPrintWritePointer"),
    ],
)
def test_data_block_holds_the_variables_address(kernel, field: str) -> None:
    block = kernel.view("_KDDEBUGGER_DATA64", kernel.address("KdDebuggerDataBlock"))
    assert block[field] == kernel.address(field)


@pytest.mark.parametrize(
    ("field", "type_name", "member"),
    [
        ("OffsetKThreadKernelStack", "_KTHREAD", "KernelStack"),
        ("OffsetKThreadState", "_KTHREAD", "State"),
        ("OffsetEprocessPeb", "_EPROCESS", "Peb"),
        ("OffsetEprocessParentCID", "_EPROCESS", "InheritedFromUniqueProcessId"),
        ("OffsetPrcbCurrentThread", "_KPRCB", "CurrentThread"),
        ("OffsetPrcbContext", "_KPRCB", "Context"),
        ("OffsetPcrContainedPrcb", "_KPCR", "Prcb"),
    ],
)
def test_data_block_offsets(kernel, field: str, type_name: str, member: str) -> None:
    block = kernel.view("_KDDEBUGGER_DATA64", kernel.address("KdDebuggerDataBlock"))
    assert block[field] == kernel.view(type_name, 0).at(member)


def test_processes_share_the_kernel_half_only(booted, kernel) -> None:
    tables = {p.Pcb.DirectoryTableBase for p in kernel.processes()}
    assert len(tables) == len(list(kernel.processes()))
    ram = booted.system.machine.ram
    self_map = kernel.read("MmPteBase") >> 39 & 0x1FF
    system = struct.unpack("<512Q", ram.read(booted.system.memory.cr3, PAGE))
    assert not any(system[:256])
    user_tables: set[int] = set()
    for table in tables - {booted.system.memory.cr3}:
        entries = struct.unpack("<512Q", ram.read(table, PAGE))
        own = {entry >> 12 & (1 << 36) - 1 for entry in entries[:256] if entry}
        assert own
        assert not own & user_tables
        user_tables |= own
        assert entries[self_map] >> 12 & (1 << 36) - 1 == table >> 12
        for slot in set(range(256, 512)) - {self_map}:
            assert entries[slot] == system[slot]


def stack(kernel, thread: View) -> list[str]:
    """Names of the functions on a switched-out thread's stack."""
    images = {
        module.base: (module, PeImage.from_memory(kernel.memory, module.base))
        for module in kernel.modules()
    }
    frame = kernel.view("_KSWITCH_FRAME", thread.Tcb.KernelStack)
    registers = FrameRegisters(frame.Return, [0] * len(GENERAL))
    registers.rsp = frame.address + frame.record.size
    registers.general[GENERAL.index("rbp")] = frame.Rbp
    names = []
    while registers.rip:
        assert thread.Tcb.StackLimit < registers.rsp <= thread.Tcb.StackBase
        base = max(base for base in images if base <= registers.rip)
        module, image = images[base]
        assert registers.rip < base + module.size
        in_nt = base == kernel.base
        names.append(kernel.pdb.nearest(registers.rip - base).name if in_nt else module.name)
        registers = unwind(registers, base, image.functions, image.read, kernel.memory).regs
    return names


def test_waiting_threads_unwind_to_their_start(kernel) -> None:
    count = 0
    for process in kernel.processes():
        for thread in kernel.threads(process):
            if thread.Tcb.State == WAITING:
                names = stack(kernel, thread)
                assert names[:3] == ["KiSwapContext", "KiSwapThread", "KiCommitThreadWait"]
                system = process.UniqueProcessId == 4
                assert names[-1] == ("KiStartSystemThread" if system else "KiStartUserThread")
                count += 1
    assert count > 40


def test_processors(booted, kernel) -> None:
    prcbs = list(kernel.processors())
    assert [prcb.Number for prcb in prcbs] == list(range(len(booted.system.machine.processors)))
    assert kernel.read("KeNumberProcessors", 4) == len(prcbs)
    for prcb in prcbs:
        current = kernel.view("_KTHREAD", prcb.CurrentThread)
        assert current.State == RUNNING
        # The service controller waits its turn behind the thread that stopped.
        assert prcb.ReadySummary == (1 << 8 if prcb.Number == 0 else 0)
        assert prcb.NextThread == 0
        assert prcb.DpcData[0].DpcQueueDepth == 0


def test_shared_user_data(booted, kernel) -> None:
    shared = kernel.view("_KUSER_SHARED_DATA", SHARED_DATA)
    assert (shared.NtMajorVersion, shared.NtMinorVersion, shared.NtBuildNumber) == (10, 0, 19045)
    interrupt = shared.InterruptTime.High1Time << 32 | shared.InterruptTime.LowPart
    assert 0 < interrupt <= booted.system.machine.clock.now()
    assert shared.InterruptTime.High1Time == shared.InterruptTime.High2Time
    assert shared.NumberOfPhysicalPages == booted.system.machine.ram.size // PAGE
    assert shared.KdDebuggerEnabled == 3


def test_the_build_number_says_a_free_build(kernel) -> None:
    assert kernel.read("NtBuildNumber", 4) == 0xF0000000 | 19041


def test_sections_have_their_protection(booted, kernel) -> None:
    image = PeImage.from_memory(kernel.memory, kernel.base)
    for section in image.sections:
        walk = booted.system.memory.translate(kernel.base + section.rva)
        assert walk.writable == bool(section.characteristics & 0x8000_0000), section.name
        assert walk.executable == bool(section.characteristics & 0x2000_0000), section.name


def test_same_seed_same_bytes(booted) -> None:
    again = Debugged()
    again.run_to_stop()
    assert again.system.machine.digest() == booted.system.machine.digest()
    again.system.close()


@pytest.mark.parametrize(
    ("address", "irql", "code", "parameters"),
    [
        pytest.param(0xC, 0, 0x7E, {1: 0xFFFF_FFFF_C000_0005}, id="user"),
        pytest.param(KERNEL_HOLE - 4, 0, 0x50, {1: KERNEL_HOLE, 2: 0}, id="kernel"),
        pytest.param(0xC, 2, 0x0A, {1: 0x10, 2: 2, 3: 0}, id="high IRQL"),
        pytest.param(1 << 60, 0, 0x7E, {1: 0xFFFF_FFFF_C000_0005}, id="non-canonical"),
    ],
)
def test_faults_end_in_their_bug_check(address, irql, code, parameters) -> None:
    """nt!KeReadStateEvent made to read SignalState, at +4, of a bad event; nobody handles it."""
    debugged = Debugged()
    debugged.run_to_stop()
    processor = debugged.system.machine.current
    processor.rip = debugged.kernel.address("KeReadStateEvent")
    processor.rcx, processor.cr8 = address, irql
    debugged.go()
    for _ in range(3):
        debugged.run_to_stop()
        data = qwords(debugged.kernel.memory, debugged.kernel.address("KiBugCheckData"), 5)
        if data[0]:
            break
        debugged.go(status=NOT_HANDLED)
    assert data[0] == code
    assert {index: data[index] for index in parameters} == parameters
    printed = "".join(text for text, _ in debugged.script.prints)
    numbers = ",".join(f"0x{value:016X}" for value in data[1:])
    assert f"*** Fatal System Error: 0x{code:08x}\n" in printed
    assert f"({numbers})" in printed
    debugged.system.close()
