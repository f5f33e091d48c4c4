"""Boot: the machine at its initial break, told from its bytes alone."""

import struct
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from kdsim.debugger.inspect import heaps, pool
from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import UserError
from kdsim.resources import resource_path
from kdsim.symbols.pe import PeImage
from kdsim.symbols.space import SymbolSpace
from kdsim.symbols.store import SymbolPath
from kdsim.target.lab import Process, Verifier, find_lab
from kdsim.target.ntos import addresses
from kdsim.target.ntos.images import ImageFiles
from kdsim.target.system import System
from tests.target.booted import Debugged, Script, names, small_lab


@pytest.fixture(scope="module")
def machine():
    target = Debugged()
    target.run_to_stop()
    return target


# -- what exists -------------------------------------------------------------------------------


def test_both_processors_are_up(machine):
    processors = list(machine.kernel.processors())
    assert [prcb.Number for prcb in processors] == [0, 1]
    assert machine.kernel.read("KeNumberProcessors", 1) == 2
    assert all(cpu.started for cpu in machine.system.machine.processors)
    bases = {cpu.gs_base for cpu in machine.system.machine.processors}
    assert bases == {
        prcb.address - machine.kernel.record("_KPCR").offset("Prcb") for prcb in processors
    }


def test_the_module_list_names_what_lies_there(machine):
    modules = list(machine.kernel.modules())
    system, drivers = "\\SystemRoot\\system32", "\\SystemRoot\\System32\\drivers"
    assert [module.path for module in modules] == [
        f"{system}\\ntoskrnl.exe",
        f"{system}\\hal.dll",
        f"{drivers}\\tidy.sys",
        f"{drivers}\\pulse.sys",
        f"{drivers}\\pulseflt.sys",
        f"{drivers}\\monitor.sys",
    ]
    assert [module.path.rpartition("\\")[2] for module in modules] == names(modules)
    files = ImageFiles()
    for module in modules:
        mapped = PeImage.from_memory(machine.system.memory, module.base)
        file = files.need(module.name)
        assert (mapped.timestamp, mapped.size_of_image) == (file.timestamp, module.size)
        assert mapped.image_base == module.base
        assert mapped.codeview == file.codeview
        entry = machine.kernel.view("_KLDR_DATA_TABLE_ENTRY", module.entry)
        assert entry.EntryPoint == module.base + file.entry_rva
        assert entry.TimeDateStamp == file.timestamp
        functions = mapped.functions
        assert entry.ExceptionTableSize == len(functions) * 12
        assert len(functions) > 0


def test_the_processes_are_the_labs(machine):
    lab = find_lab("lab")
    processes = list(machine.kernel.processes())
    found = [process.ImageFileName.text() for process in processes]
    assert found == ["System", *(process.name for process in lab.processes)]
    ids = [process.UniqueProcessId for process in processes]
    assert ids[0] == 4
    assert len(set(ids)) == len(ids)
    for process, wanted in zip(processes[1:], lab.processes, strict=True):
        parent = 4 if wanted.parent is None else ids[wanted.parent + 1]
        assert process.InheritedFromUniqueProcessId == parent
        assert process["Pcb.BasePriority"] == wanted.priority


def test_threads_belong_to_their_processes_and_stand_on_mapped_stacks(machine):
    lab = find_lab("lab")
    memory = machine.system.memory
    processes = list(machine.kernel.processes())
    for process, wanted in zip(processes[1:], lab.processes, strict=True):
        threads = list(machine.kernel.threads(process))
        assert len(threads) == wanted.threads
        for thread in threads:
            assert thread["Cid.UniqueProcess"] == process.UniqueProcessId
            assert thread["Tcb.Process"] == process.address
            stack = thread["Tcb.KernelStack"]
            assert thread["Tcb.StackLimit"] < stack < thread["Tcb.StackBase"]
            assert len(memory.read(stack, 64)) == 64
    system = list(machine.kernel.threads(processes[0]))
    assert len(system) > 3


def test_every_process_shares_the_kernel_half(machine):
    ram = machine.system.machine.ram
    tables = {process["Pcb.DirectoryTableBase"] & ~0xFFF for process in machine.kernel.processes()}
    assert len(tables) == 13
    layout = addresses.choose(1, ram.size, machine.kernel.record("_MMPFN").size)
    for slot in layout.slots:
        assert len({ram.read_u64(table + 8 * slot) & ~0xFFF for table in tables}) == 1


def test_pool_tags_add_up_to_the_blocks(machine):
    memory = machine.system.memory
    symbols = SymbolSpace(SymbolPath.parse(""), memory)
    nt = next(iter(machine.kernel.modules()))
    symbols.add("nt", nt.base, nt.size)
    kernel = Nt(symbols, memory)
    blocks = [block for heap in heaps.heaps(kernel) for block in heaps.all_blocks(kernel, heap)]
    blocks = [block for block in blocks if block.allocated] + list(pool.big_blocks(kernel))
    counted = Counter((block.tag & 0x7FFFFFFF, block.paged) for block in blocks)
    totals = machine.kernel.tag_totals()
    assert len(totals) > 20
    for total in totals.values():
        tag = total.tag & 0x7FFFFFFF
        live = total.nonpaged_allocations - total.nonpaged_frees
        assert counted[tag, False] == live, total
        assert counted[tag, True] == total.paged_allocations - total.paged_frees, total
    assert sum(counted.values()) > 200
    debugger = {use.tag: use.nonpaged_bytes for use in pool.usage_by_tag(kernel)}
    assert debugger == {
        tag: total.nonpaged_bytes for tag, total in totals.items() if tag in debugger
    }


def test_the_loader_leaves_room_and_truth(machine):
    block = machine.kernel.view("_KDSIM_LOADER_BLOCK", machine.kernel.read("KeLoaderBlock"))
    assert block.NumberOfPages == machine.system.machine.ram.pages
    assert block.DirectoryTableBase == machine.system.memory.cr3
    # The self-map: the PTE of an address lies where PteBase says.
    va = machine.kernel.base
    walk = machine.system.memory.translate(va)
    pte = block.PteBase + ((va >> 9) & 0x7F_FFFF_FFF8)
    assert machine.system.memory.read_u64(pte) == walk.entry
    # Code cannot be written, data cannot be executed.
    code = machine.system.memory.translate(machine.kernel.address("KeBugCheckEx"))
    data = machine.system.memory.translate(machine.kernel.address("PsLoadedModuleList"))
    assert (code.writable, code.executable) == (False, True)
    assert (data.writable, data.executable) == (True, False)


# -- addresses ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(64))
def test_layouts_are_legal(seed):
    layout = addresses.choose(seed, 1 << 30, 0x30)
    assert 0xFFFFF80000000000 <= layout.kernel < 0xFFFFF80800000000
    assert layout.kernel % (2 << 20) == 0
    regions = sorted((region.base, region.base + region.size) for region in layout.regions.values())
    assert all(end <= start for (_, end), (start, _) in pairwise(regions))
    images = layout.regions["DriverImages"]
    assert layout.kernel < layout.boot_drivers < images.base
    slots = [addresses.slot_of(base) for base, _ in regions]
    slots += [layout.self_map, addresses.slot_of(layout.structures)]
    assert len(set(slots)) == len(slots)
    assert all(256 <= slot < 512 for slot in slots)
    assert addresses.slot_of(addresses.SHARED_DATA) not in slots


def test_seeds_decide_the_addresses():
    layouts = [addresses.choose(seed, 1 << 29, 0x30) for seed in range(100)]
    assert addresses.choose(7, 1 << 29, 0x30) == layouts[7]
    assert len({layout.kernel for layout in layouts}) > 95
    assert len({layout.self_map for layout in layouts}) > 50
    assert len({layout.entropy for layout in layouts}) == 100


# -- repeatable --------------------------------------------------------------------------------


def _booted(seed: int) -> Debugged:
    target = Debugged(small_lab(seed=seed))
    target.run_to_stop()
    return target


def test_equal_seeds_give_equal_bytes():
    first, second, other = _booted(5), _booted(5), _booted(6)
    assert first.system.machine.digest() == second.system.machine.digest()
    assert first.kernel.base != other.kernel.base
    assert first.system.machine.digest() != other.system.machine.digest()


_RESUMED = """
import sys
from pathlib import Path
from tests.target.booted import Script
from kdsim.target.lab import find_lab
from kdsim.target.system import System
system = System.resume(Path(sys.argv[1]), find_lab("lab"), Script(False), print)
system.machine.run(until=int(sys.argv[2]))
print(system.machine.digest())
"""


def test_a_saved_machine_goes_on_the_same_in_a_fresh_process(tmp_path):
    saved = tmp_path / "machine"
    target = Debugged(break_at_boot=False, present=False)
    machine = target.system.machine
    machine.run(until=13_000_000)
    machine.save(saved)
    end = machine.clock.now() + 30_000_000
    machine.run(until=end)
    assert "leaky.sys" in names(target.kernel.modules())
    done = subprocess.run(
        [sys.executable, "-c", _RESUMED, str(saved), str(end)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [machine.digest()]


# -- labs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("processors", [1, 3, 8])
def test_any_number_of_processors(processors):
    target = Debugged(small_lab(processors=processors))
    target.run_to_stop()
    assert len(list(target.kernel.processors())) == processors


def test_a_lab_of_its_own(tmp_path):
    lab = small_lab(
        ram=64 << 20,
        processes=(Process("one.exe"), Process("two.exe", 0, 1, 2, 9)),
        boot_drivers=(),
        tasks=(),
        verifier=Verifier(),
        computer="OTHER",
    )
    target = Debugged(lab)
    target.run_to_stop()
    found = [process.ImageFileName.text() for process in target.kernel.processes()]
    assert found == ["System", "one.exe", "two.exe"]
    assert names(target.kernel.modules()) == ["ntoskrnl.exe", "hal.dll"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"boot_drivers": ("nosuch.sys",)}, "no image file nosuch.sys", id="driver"),
        pytest.param({"images": (Path("/nowhere"),)}, "images: no folder /nowhere", id="folder"),
    ],
)
def test_what_a_lab_lacks(changes, message):
    with pytest.raises(UserError, match=message):
        Debugged(small_lab(**changes))


def test_drivers_come_from_the_labs_folders_too(tmp_path):
    shipped = ImageFiles()
    source = Path(shipped._shipped["tidy.sys"])
    (tmp_path / "Mine.sys").write_bytes(source.read_bytes())
    files = ImageFiles([tmp_path])
    assert files.need("MINE.SYS").size_of_image == shipped.need("tidy.sys").size_of_image
    assert files.find("other.sys") is None


def test_a_machine_saved_before_its_first_instruction_boots(tmp_path):
    target = Debugged()
    target.system.machine.save(tmp_path / "early")
    target.run_to_stop()
    again = System.resume(tmp_path / "early", find_lab("lab"), Script(), print)
    again.machine.run()
    assert again.stub.stop is not None
    assert again.machine.digest() == target.system.machine.digest()


def test_a_missing_import_is_named_and_bug_checks_when_called(tmp_path):
    shipped = resource_path("targets", "images")
    (tidy,) = shipped.glob("tidy.sys/*/tidy.sys")
    raw = tidy.read_bytes()
    assert raw.count(b"ExAllocatePoolWithTag\0") == 1
    (tmp_path / "mine.sys").write_bytes(
        raw.replace(b"ExAllocatePoolWithTag\0", b"ExAllocatePoolWithBag\0")
    )
    lab = small_lab(boot_drivers=("mine.sys",), images=(tmp_path,), tasks=())
    target = Debugged(lab, break_at_boot=False, present=False)
    assert target.lines == [
        "mine.sys: nobody exports ntoskrnl.exe!ExAllocatePoolWithBag; calling it will bug check"
    ]
    target.run_to_stop()
    assert target.kernel.read("KiBugCheckData") != 0
    cpu = target.system.machine.processors[target.script.reports[-1].processor]
    stack = target.system.memory.read_prefix(cpu.rsp, 0x1000)
    missing = target.kernel.address("KdsimMissingImport")
    returns = struct.unpack(f"<{len(stack) // 8}Q", stack)
    assert any(missing < address < missing + 0x80 for address in returns)
