"""The boot loader: puts the kernel and what it needs into RAM and enters nt!KiSystemStartup.

Like winload it builds page tables with a self-map, chooses addresses, loads images, prepares every
processor's tables and stacks, and hands over a loader block. Layouts come from nt's PDB; the block
itself is `_KDSIM_LOADER_BLOCK` of targets/include/kdsim.h.
"""

from __future__ import annotations

import datetime
import struct
from collections.abc import Callable
from typing import NamedTuple

from kdsim.errors import UserError
from kdsim.symbols.pe import EXCEPTION, PeImage
from kdsim.symbols.views import View
from kdsim.target.lab import Lab
from kdsim.target.machine.loader import LoadedModule
from kdsim.target.machine.machine import Machine
from kdsim.target.machine.paging import (
    ACCESSED,
    DIRTY,
    NO_EXECUTE,
    PRESENT,
    WRITABLE,
    AddressSpace,
)
from kdsim.target.ntos.addresses import PAGE, Layout, Region, choose
from kdsim.target.ntos.images import ImageFiles
from kdsim.target.ntos.imports import map_bound
from kdsim.target.ntos.kernel import Kernel, open_pdb

KERNEL_FILE, HAL_FILE = "ntoskrnl.exe", "hal.dll"
FIRST_PAGE = 0x100
"""The first megabyte stays free, as on a PC."""
KERNEL_STACK = 6 * PAGE
"""KERNEL_STACK_SIZE of x64 Windows."""
IMAGE_ALIGNMENT = 0x10000
LOADER_VERSION = 1
TASK_START, TASK_STOP = 1, 2
BUILD_LAB = b"19041.1.amd64fre.vb_release.191206-1406"

_DATA = PRESENT | WRITABLE | ACCESSED | DIRTY | NO_EXECUTE
_EPOCH = datetime.datetime(1601, 1, 1, tzinfo=datetime.UTC)
_LDRP_ENTRY_PROCESSED = 0x4000

# Windows' GDT, from `dg` on a running 19041: null, kernel code 10, kernel data 18, 32-bit user
# code 20, user data 28, user code 30, TSS 40, 32-bit TEB 50.
_GDT = {
    0x10: 0x0020_9B00_0000_0000,
    0x18: 0x0040_9300_0000_0000,
    0x20: 0x00CF_FB00_0000_FFFF,
    0x28: 0x00CF_F300_0000_FFFF,
    0x30: 0x0020_FB00_0000_0000,
    0x50: 0x0040_F300_0000_3C00,
}
_GDT_LIMIT = 0x57
_TSS_SELECTOR = 0x40
_TSS_AVAILABLE = 0x89
_IST_DOUBLE_FAULT, _IST_MACHINE_CHECK, _IST_NMI, _IST_DEBUG = 1, 2, 3, 4


class _Stacks(NamedTuple):
    kernel: int
    double_fault: int
    nmi: int
    dpc: int


def boot(
    machine: Machine,
    lab: Lab,
    files: ImageFiles,
    *,
    break_at_boot: bool,
    console: Callable[[str], None],
) -> tuple[Kernel, AddressSpace]:
    """Load `lab` into a machine in reset; processor 0 stands at KiSystemStartup afterwards.

    Returns the kernel and its address space.

    Raises:
        UserError: a driver's file is missing, or RAM is too small for it all.
    """
    image = files.need(KERNEL_FILE)
    if image.codeview is None:
        raise UserError(f"{KERNEL_FILE} names no PDB")
    pdb = open_pdb(image.codeview)
    pages = _Pages(machine)
    space = AddressSpace(machine.ram, pages.take(), pages.take, machine.forget_code)
    loader = _Loader(machine, lab, files, pages, space, console)
    layout = choose(lab.seed, machine.ram.size, Kernel(space, 0, pdb).record("_MMPFN").size)
    kernel = Kernel(space, layout.kernel, pdb)
    loader.run(kernel, layout, image, break_at_boot=break_at_boot)
    space.allocate = None
    return kernel, space


class _Pages:
    """Physical pages, handed out upwards."""

    def __init__(self, machine: Machine) -> None:
        self.next = FIRST_PAGE
        self._end = machine.ram.size // PAGE

    def take(self) -> int:
        if self.next >= self._end:
            raise UserError("the machine has too little RAM to boot")
        page = self.next
        self.next += 1
        return page * PAGE


class _Loader:
    """One boot in progress."""

    def __init__(
        self,
        machine: Machine,
        lab: Lab,
        files: ImageFiles,
        pages: _Pages,
        space: AddressSpace,
        console: Callable[[str], None],
    ) -> None:
        self._machine = machine
        self._lab = lab
        self._files = files
        self._pages = pages
        self._space = space
        self._console = console
        self._modules: dict[str, LoadedModule] = {}
        self._kernel: Kernel
        self._next_structure = 0

    def run(self, kernel: Kernel, layout: Layout, image: PeImage, *, break_at_boot: bool) -> None:
        self._kernel = kernel
        self._next_structure = layout.structures
        self._page_tables(layout)
        block = kernel.view("_KDSIM_LOADER_BLOCK", self._structure("_KDSIM_LOADER_BLOCK"))
        self._load_images(layout, image, block)
        for number in range(self._lab.processors):
            self._processor(block.Processors[number])
        self._describe(block, layout, break_at_boot=break_at_boot)
        self._enter(block)

    # -- memory --------------------------------------------------------------------------------

    def _page_tables(self, layout: Layout) -> None:
        """The self-map, and the tables that all address spaces will share."""
        top = self._space.cr3
        self._machine.ram.write_u64(top + layout.self_map * 8, top | _DATA)
        for slot in layout.slots:
            entry = self._pages.take() | PRESENT | WRITABLE | ACCESSED | DIRTY
            self._machine.ram.write_u64(top + slot * 8, entry)

    def _map(self, va: int, size: int) -> None:
        for offset in range(0, size, PAGE):
            self._space.map(va + offset, self._pages.take(), PAGE, _DATA)

    def _allocate(self, size: int) -> int:
        """Zeroed pages among the loader's structures, followed by an unmapped page."""
        va = self._next_structure
        size = -(-size // PAGE) * PAGE
        self._map(va, size)
        self._next_structure = va + size + PAGE
        return va

    def _structure(self, type_name: str, count: int = 1) -> int:
        return self._allocate(self._kernel.record(type_name).size * max(count, 1))

    # -- images --------------------------------------------------------------------------------

    def _load_images(self, layout: Layout, image: PeImage, block: View) -> None:
        head = block.at("LoadOrderListHead")
        _link_empty(self._space, head)
        end = self._load(KERNEL_FILE, image, layout.kernel, "system32", head)
        hal = self._files.need(HAL_FILE)
        self._load(HAL_FILE, hal, _round(end, IMAGE_ALIGNMENT), "system32", head)
        base = layout.boot_drivers
        for name in self._lab.boot_drivers:
            end = self._load(name, self._files.need(name), base, "System32\\drivers", head)
            base = _round(end, IMAGE_ALIGNMENT)

    def _load(self, name: str, image: PeImage, base: int, folder: str, head: int) -> int:
        """Map one image and put it on the list; returns the address behind it."""
        self._map(base, _round(image.size_of_image, PAGE))
        self._modules[name.lower()] = LoadedModule(base, image.exports)
        map_bound(self._space, base, image, self._modules.get, self._kernel, self._console)
        entry = self._kernel.view(
            "_KLDR_DATA_TABLE_ENTRY", self._structure("_KLDR_DATA_TABLE_ENTRY")
        )
        directory = image.directories[EXCEPTION]
        fields = {
            "DllBase": base,
            "EntryPoint": base + image.entry_rva,
            "SizeOfImage": image.size_of_image,
            "SizeOfImageNotRounded": image.size_of_image,
            "CheckSum": image.checksum,
            "TimeDateStamp": image.timestamp,
            "ExceptionTable": base + directory.rva if directory.size else 0,
            "ExceptionTableSize": directory.size,
            "Flags": _LDRP_ENTRY_PROCESSED,
            "LoadCount": 1,
        }
        for field, value in fields.items():
            entry.set(field, value)
        text = entry.address + entry.record.size
        path = f"\\SystemRoot\\{folder}\\{name}"
        self._unicode(entry, "FullDllName", path, text)
        self._unicode(entry, "BaseDllName", name, text + 2 * (len(path) - len(name)), share=True)
        _link_tail(self._space, head, entry.at("InLoadOrderLinks"))
        return base + image.size_of_image

    def _unicode(self, entry: View, field: str, text: str, va: int, *, share: bool = False) -> None:
        """Fill a UNICODE_STRING; with `share` its text already lies at `va`."""
        raw = text.encode("utf-16-le")
        if not share:
            self._space.write(va, raw + b"\0\0")
        entry.set(f"{field}.Length", len(raw))
        entry.set(f"{field}.MaximumLength", len(raw) + 2)
        entry.set(f"{field}.Buffer", va)

    # -- processors ----------------------------------------------------------------------------

    def _processor(self, prepared: View) -> None:
        """Tables and stacks of one processor."""
        stacks = _Stacks(*(self._allocate(KERNEL_STACK) + KERNEL_STACK for _ in range(4)))
        gdt, idt = self._allocate(PAGE), self._allocate(PAGE)
        tss = self._structure("_KTSS64")
        self._fill_gdt(gdt, tss)
        self._fill_tss(tss, stacks)
        prepared.set("Pcr", self._structure("_KPCR"))
        prepared.set("Gdt", gdt)
        prepared.set("Idt", idt)
        prepared.set("Tss", tss)
        prepared.set("KernelStack", stacks.kernel)
        prepared.set("DoubleFaultStack", stacks.double_fault)
        prepared.set("NmiStack", stacks.nmi)
        prepared.set("DpcStack", stacks.dpc)

    def _fill_gdt(self, gdt: int, tss: int) -> None:
        for selector, descriptor in _GDT.items():
            self._space.write_u64(gdt + selector, descriptor)
        limit = self._kernel.record("_KTSS64").size - 1
        low = limit | (tss & 0xFF_FFFF) << 16 | _TSS_AVAILABLE << 40 | (tss >> 24 & 0xFF) << 56
        self._space.write(gdt + _TSS_SELECTOR, struct.pack("<QQ", low, tss >> 32))

    def _fill_tss(self, va: int, stacks: _Stacks) -> None:
        tss = self._kernel.view("_KTSS64", va)
        tss.set("Rsp0", stacks.kernel)
        tss.set("IoMapBase", tss.record.size)
        tss.Ist.set(_IST_DOUBLE_FAULT, stacks.double_fault)
        for index in (_IST_MACHINE_CHECK, _IST_NMI, _IST_DEBUG):
            tss.Ist.set(index, stacks.nmi)

    # -- the loader block ----------------------------------------------------------------------

    def _describe(self, block: View, layout: Layout, *, break_at_boot: bool) -> None:
        lab = self._lab
        processes, tasks = self._processes(), self._tasks()
        values = {
            "Version": LOADER_VERSION,
            "NumberProcessors": lab.processors,
            "NumberOfPages": self._machine.ram.size // PAGE,
            "PteBase": layout.pte_base,
            "DirectoryTableBase": self._space.cr3,
            "SystemTime": _filetime(lab.power_on),
            "DebuggerEnabled": 1,
            "BreakAtBoot": int(break_at_boot),
            "VerifierLevel": lab.verifier.flags,
            "BuildLabLength": len(BUILD_LAB),
            "NumberProcesses": len(lab.processes),
            "NumberTasks": len(lab.tasks),
            "Processes": processes,
            "Tasks": tasks,
        }
        for field, value in values.items():
            block.set(field, value)
        for name, region in layout.regions.items():
            _set_region(block[name], region)
        for index, value in enumerate(layout.entropy):
            block.Entropy.set(index, value)
        texts = {
            "VerifierDrivers": " ".join(lab.verifier.drivers).encode(),
            "BuildLab": BUILD_LAB,
            "ComputerName": lab.computer.encode(),
        }
        for field, text in texts.items():
            self._space.write(block.at(field), text)
        # Last, as everything before may have taken pages.
        block.set("FirstFreePage", self._pages.next)

    def _processes(self) -> int:
        record = self._kernel.record("_KDSIM_PROCESS")
        va = self._structure("_KDSIM_PROCESS", len(self._lab.processes))
        for index, process in enumerate(self._lab.processes):
            entry = View(self._space, record, va + index * record.size)
            self._space.write(entry.at("ImageName"), process.name.encode())
            entry.set("Parent", -1 if process.parent is None else process.parent)
            entry.set("SessionId", process.session)
            entry.set("Threads", process.threads)
            entry.set("BasePriority", process.priority)
            entry.set("Account", process.account)
        return va

    def _tasks(self) -> int:
        record = self._kernel.record("_KDSIM_TASK")
        va = self._structure("_KDSIM_TASK", len(self._lab.tasks))
        for index, task in enumerate(self._lab.tasks):
            entry = View(self._space, record, va + index * record.size)
            entry.set("Time100ns", round(task.at * 10_000_000))
            entry.set("Action", TASK_START if task.start else TASK_STOP)
            self._space.write(entry.at("Driver"), task.driver.encode())
        return va

    def _enter(self, block: View) -> None:
        prepared = block.Processors[0]
        processor = self._machine.processors[0]
        processor.start(
            rip=self._kernel.address("KiSystemStartup"),
            rsp=prepared.KernelStack,
            cr3=self._space.cr3,
            rcx=block.address,
        )
        processor.set_gdt(prepared.Gdt, _GDT_LIMIT)
        processor.load_tr(_TSS_SELECTOR)
        processor.gs_base = prepared.Pcr


def _set_region(view: View, region: Region) -> None:
    view.set("Base", region.base)
    view.set("Size", region.size)


def _filetime(moment: datetime.datetime) -> int:
    """100 ns since 1601."""
    delta = moment - _EPOCH
    return (delta.days * 86400 + delta.seconds) * 10_000_000 + delta.microseconds * 10


def _round(value: int, to: int) -> int:
    return -(-value // to) * to


def _link_empty(space: AddressSpace, head: int) -> None:
    space.write(head, struct.pack("<QQ", head, head))


def _link_tail(space: AddressSpace, head: int, entry: int) -> None:
    """InsertTailList."""
    last = space.read_u64(head + 8)
    space.write(entry, struct.pack("<QQ", head, last))
    space.write_u64(last, entry)
    space.write_u64(head + 8, entry)
