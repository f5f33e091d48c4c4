"""What must hold at any moment at which the machine rests, rebuilt from its bytes alone.

Every rule is put to a machine at its first stop and to machines, with other seeds and numbers of
processors, behind a minute in which drivers came and went under the verifier.
"""

from __future__ import annotations

import struct
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise

import pytest

from kdsim.symbols.pe import PeImage
from kdsim.symbols.views import View, list_entries
from kdsim.target.lab import Task, Verifier
from kdsim.target.machine.machine import Reason
from kdsim.wire.messages import LoadSymbolsChange
from tests.target.booted import Debugged, small_lab
from tests.target.guestcalls import go_on
from tests.target.test_guest_executive import Pool, directory, drivers, outstanding, tracked
from tests.target.test_guest_executive import type_name as object_type
from tests.target.test_guest_processes import handles, token_of

PAGE = 0x1000
SECOND = 10_000_000
READY, RUNNING, STANDBY, TERMINATED, WAITING = 1, 2, 3, 4, 5
WAIT_BLOCK_ACTIVE = 4
ACTIVE_AND_VALID = 6
FAST_REF = 0xF
PFN_BITS = (1 << 36) - 1
LEVELS = 4
SHARED_DATA = 0xFFFF_F780_0000_0000
WATCHED = ("tidy.sys", "pulse.sys", "pulseflt.sys", "monitor.sys", "leaky.sys")


def busy(seed: int, processors: int) -> Debugged:
    """tidy comes and goes eight times, leaky once, churn frees what it allocates; all verified."""
    tasks = [Task(at=1.0, driver="churn.sys", start=True)]
    tasks += [Task(at=1.5, driver="leaky.sys", start=True)]
    tasks += [Task(at=2.0 + 4 * n, driver="tidy.sys", start=n % 2 == 1) for n in range(16)]
    verifier = Verifier(flags=0x209BB, drivers=WATCHED)
    lab = small_lab(seed=seed, processors=processors, tasks=tuple(tasks), verifier=verifier)
    debugged = Debugged(lab)
    debugged.run_to_stop()
    change = go_on(debugged)
    machine = debugged.system.machine
    end = machine.clock.now() + 66 * SECOND
    while True:
        assert isinstance(change, LoadSymbolsChange)
        debugged.go()
        if machine.run(until=end).reason is Reason.UNTIL:
            break
        debugged.ask()
        change = debugged.script.reports[-1]
    for _ in range(1000):
        if all(processor.halted for processor in machine.processors):
            return debugged
        machine.run(until=machine.clock.now() + SECOND // 1000)
    raise AssertionError("the machine does not come to rest")


def at_boot() -> Debugged:
    debugged = Debugged()
    debugged.run_to_stop()
    return debugged


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(at_boot, id="at the first stop"),
        pytest.param(lambda: busy(1, 2), id="busy, two processors"),
        pytest.param(lambda: busy(2, 1), id="busy, one processor"),
        pytest.param(lambda: busy(3, 4), id="busy, four processors"),
    ],
)
def booted(request: pytest.FixtureRequest) -> Iterator[Debugged]:
    debugged = request.param()
    yield debugged
    debugged.system.close()


def number_at(kernel, address: int, size: int = 8) -> int:
    return int.from_bytes(kernel.memory.read(address, size), "little")


# -- processes and threads -----------------------------------------------------------------------


def processes(kernel) -> list[View]:
    """All of them, Idle last."""
    return [*kernel.processes(), kernel.view("_EPROCESS", kernel.address("KiInitialProcess"))]


def threads(kernel) -> list[View]:
    return [thread for process in processes(kernel) for thread in kernel.threads(process)]


def test_lists_of_the_kernel_and_of_the_executive_agree(kernel) -> None:
    head = kernel.address("KiProcessListHead")
    listed = list_entries(kernel.memory, head, kernel.record("_KPROCESS"), "ProcessListEntry")
    assert {p.address for p in listed} == {p.address for p in processes(kernel)}
    for process in processes(kernel):
        own = list(kernel.threads(process))
        head = process.at("Pcb.ThreadListHead")
        tcbs = list_entries(kernel.memory, head, kernel.record("_KTHREAD"), "ThreadListEntry")
        assert [thread.address for thread in tcbs] == [thread.address for thread in own]
        assert len(own) == process.ActiveThreads == process["Pcb.StackCount.StackCount"]
        assert len(own) <= process.ActiveThreadsHighWatermark
        for thread in own:
            assert thread["Tcb.Process"] == process.address
            assert thread.Cid.UniqueProcess == process.UniqueProcessId


def entries(kernel, table: View) -> Iterator[tuple[int, int]]:
    """(handle, its entry's address), after checking the table's leaves and free list."""
    code, level = table.TableCode & ~3, table.TableCode & 3
    count = table.NextHandleNeedingPool // 1024
    assert level == (count > 1)
    leaves = struct.unpack(f"<{count}Q", kernel.memory.read(code, 8 * count)) if level else (code,)
    free = set()
    for leaf, base in zip(leaves, range(0, 1024 * count, 1024), strict=True):
        assert number_at(kernel, leaf) == base
        for index in range(1, PAGE // 16):
            entry = leaf + 16 * index
            if number_at(kernel, entry):
                yield base + 4 * index, entry
            else:
                free.add(entry)
    lists = table.FreeLists[0]
    link, last, linked = lists.FirstFreeHandleEntry, 0, set()
    while link:
        linked.add(link)
        link, last = number_at(kernel, link + 8), link
    assert linked == free
    assert lists.LastFreeHandleEntry == last
    assert lists.HandleCount <= lists.HighWaterMark


def pointed_to(kernel, entry: int) -> int:
    """What an unlocked entry of a handle table points to."""
    low = number_at(kernel, entry)
    assert low & 1
    return low >> 20 << 4 | 0xFFFF << 48


def test_ids_name_the_processes_and_threads(kernel) -> None:
    """And nobody else, but for threads that are over and that somebody still refers to."""
    table = kernel.view("_HANDLE_TABLE", kernel.read("PspCidTable"))
    named = {number: pointed_to(kernel, entry) for number, entry in entries(kernel, table)}
    assert table.FreeLists[0].HandleCount == len(named)
    alive = {process.UniqueProcessId: process.address for process in kernel.processes()}
    for process in kernel.processes():
        alive |= {thread.Cid.UniqueThread: thread.address for thread in kernel.threads(process)}
    assert alive.items() <= named.items()
    assert {object_type(kernel, body) for body in alive.values()} == {"Process", "Thread"}
    for number in named.keys() - alive.keys():
        assert object_type(kernel, named[number]) == "Thread"
        assert kernel.view("_KTHREAD", named[number]).State == TERMINATED
        assert object_header(kernel, named[number]).HandleCount


def test_handle_tables_are_whole_and_listed(kernel) -> None:
    head = kernel.address("HandleTableListHead")
    tables = list_entries(kernel.memory, head, kernel.record("_HANDLE_TABLE"), "HandleTableList")
    owners = {table.address: table.UniqueProcessId for table in tables}
    assert owners == {p.ObjectTable: p.UniqueProcessId for p in kernel.processes()}
    for address in owners:
        table = kernel.view("_HANDLE_TABLE", address)
        used = [pointed_to(kernel, entry) for _, entry in entries(kernel, table)]
        assert table.FreeLists[0].HandleCount == len(used)


def test_threads_are_where_their_state_says(kernel) -> None:
    prcbs = {prcb.Number: prcb for prcb in kernel.processors()}
    queued = {}
    for prcb in prcbs.values():
        count = 0
        for priority, head in enumerate(prcb.DispatcherReadyListHead):
            ready = list_entries(
                kernel.memory, head.address, kernel.record("_KTHREAD"), "WaitListEntry"
            )
            listed = [thread.address for thread in ready]
            assert bool(listed) == bool(prcb.ReadySummary >> priority & 1)
            queued |= dict.fromkeys(listed, (prcb.Number, priority))
            count += len(listed)
        assert count == prcb.ReadyThreadCount
        assert prcb.DpcData[0].DpcQueueDepth == 0
        assert prcb.RspBase == kernel.view("_KTHREAD", prcb.CurrentThread).InitialStack
    for thread in threads(kernel):
        tcb, prcb = thread.Tcb, prcbs[thread["Tcb.NextProcessor"]]
        assert tcb.State in (READY, RUNNING, STANDBY, WAITING)
        assert bool(tcb.Running) == (prcb.CurrentThread == thread.address)
        assert (thread.address in queued) == (tcb.State == READY)
        if thread.address == prcb.IdleThread:
            assert tcb.State == RUNNING  # even while others have the processor, as in Windows
            continue
        if tcb.State == READY:
            assert queued[thread.address] == (prcb.Number, tcb.Priority)
        elif tcb.State == RUNNING:
            assert tcb.Running
        elif tcb.State == STANDBY:
            assert prcb.NextThread == thread.address
        if tcb.State != RUNNING:
            assert tcb.StackLimit < tcb.KernelStack < tcb.StackBase


def waits(kernel, thread: View) -> list[View]:
    """The wait blocks of a waiting thread, that of its timer left out."""
    record = kernel.record("_KWAIT_BLOCK")
    count, first = thread["Tcb.WaitBlockCount"], thread["Tcb.WaitBlockList"]
    return [View(kernel.memory, record, first + index * record.size) for index in range(count)]


def test_waits_lead_to_objects_and_back(kernel) -> None:
    record, found, listed = kernel.record("_KWAIT_BLOCK"), set(), set()
    for thread in threads(kernel):
        if thread["Tcb.State"] != WAITING:
            continue
        blocks = waits(kernel, thread)
        assert blocks
        for block in blocks:
            assert (block.Thread, block.BlockState) == (thread.address, WAIT_BLOCK_ACTIVE)
            head = kernel.view("_DISPATCHER_HEADER", block.Object).at("WaitListHead")
            found.add(block.address)
            on_list = list_entries(kernel.memory, head, record, "WaitListEntry")
            listed |= {entry.address for entry in on_list}
    assert found == listed


def timers(kernel) -> dict[int, View]:
    """Every set timer, after checking where it is filed."""
    record, found = kernel.record("_KTIMER"), {}
    for prcb in kernel.processors():
        for index in range(256):
            entry = prcb.TimerTable.TimerEntries[0][index]
            filed = list(list_entries(kernel.memory, entry.at("Entry"), record, "TimerListEntry"))
            dues = [timer.DueTime.QuadPart for timer in filed]
            assert dues == sorted(dues)
            assert entry.Time.QuadPart == (dues[0] if dues else (1 << 64) - 1)
            assert all(due >> 18 & 0xFF == index for due in dues)
            assert all(timer.Processor == prcb.Number for timer in filed)
            assert all(timer["Header.Inserted"] for timer in filed)
            found |= {timer.address: timer for timer in filed}
    return found


def test_timers_are_sorted_and_filed_by_due_time(kernel) -> None:
    """Those of threads are set while their threads wait for them, alone or beside something."""
    filed = timers(kernel)
    assert filed
    for thread in threads(kernel):
        timer = thread.at("Tcb.Timer")
        head = kernel.view("_KTIMER", timer).at("Header.WaitListHead")
        record = kernel.record("_KWAIT_BLOCK")
        waiting = list_entries(kernel.memory, head, record, "WaitListEntry")
        waits_for_it = thread["Tcb.State"] == WAITING and any(
            block.Thread == thread.address for block in waiting
        )
        assert waits_for_it == (timer in filed)


def test_times_and_switches_add_up(booted, kernel) -> None:
    alive, everybody = threads(kernel), processes(kernel)
    prcbs = list(kernel.processors())
    switches = sum(thread["Tcb.ContextSwitches"] for thread in alive)
    switches += sum(process["Pcb.ContextSwitches"] for process in everybody)
    assert switches == sum(prcb.KeContextSwitches for prcb in prcbs)
    ticks = sum(process["Pcb.KernelTime"] for process in everybody)
    assert ticks == sum(prcb.KernelTime for prcb in prcbs)
    assert ticks >= sum(thread["Tcb.KernelTime"] for thread in alive)
    shared = kernel.view("_KUSER_SHARED_DATA", SHARED_DATA)
    interrupt, system = (
        time.High1Time << 32 | time.LowPart for time in (shared.InterruptTime, shared.SystemTime)
    )
    assert system - interrupt == kernel.read("KiBootTime")
    assert shared.TickCountQuad == interrupt // kernel.read("KeTimeIncrement", 4)
    # The lab's drivers need the clock four times a second.
    assert 0 <= booted.system.machine.clock.now() - interrupt < SECOND // 2
    for prcb in prcbs:
        assert prcb.KernelTime <= prcb.LastTick <= shared.TickCountQuad
        assert prcb.ClockInterrupts <= prcb.InterruptCount


# -- memory --------------------------------------------------------------------------------------


def frames(booted, kernel) -> Iterator[tuple[int, tuple[int, int, int, int, int, int]]]:
    """Of each page: entry address, share count, reference count, list, containing table, Flink."""
    size, pages = kernel.record("_MMPFN").size, booted.system.machine.ram.size // PAGE
    raw = kernel.memory.read(kernel.read("MmPfnDatabase"), pages * size)
    for page in range(pages):
        flink, entry, _, share, count, place, frame = struct.unpack_from(
            "<4QHBxxxxxQ", raw, page * size
        )
        yield page, (entry, share, count, place & 7, frame & PFN_BITS, flink & PFN_BITS)


def test_page_lists_account_for_every_page(booted, kernel) -> None:
    """Links both ways, totals, and page locations of the zeroed and the free list."""
    partition = kernel.view("_MI_PARTITION", kernel.address("MiSystemPartition"))
    database = dict(frames(booted, kernel))
    listed: set[int] = set()
    for name, location in (("ZeroedPageListHead", 0), ("FreePageListHead", 1)):
        head = partition.PageLists[name]
        page, previous, count = head.Flink, PFN_BITS, 0
        while page != PFN_BITS:
            _, blink, references, place, _, flink = database[page]
            assert (blink & PFN_BITS, references, place) == (previous, 0, location)
            listed.add(page)
            previous, page, count = page, flink, count + 1
        assert (count, previous) == (head.Total, head.Blink)
    assert len(listed) == partition.Vp.AvailablePages
    in_use = {page for page, entry in database.items() if entry[3] == ACTIVE_AND_VALID}
    assert in_use == set(database) - listed
    assert partition.Vp.TotalCommittedPages == len(in_use)


class Mappings:
    """Of every page: the addresses of the entries that map it, and the tables they lie in."""

    def __init__(self, booted, kernel) -> None:
        self.ram, self.base = booted.system.machine.ram, kernel.read("MmPteBase")
        self.entries: defaultdict[int, list[int]] = defaultdict(list)
        self.tables: defaultdict[int, set[int]] = defaultdict(set)
        self._walk(booted.system.memory.cr3, LEVELS, range(256, 512), 0)
        self.roots = {process["Pcb.DirectoryTableBase"] for process in kernel.processes()}
        for root in self.roots - {booted.system.memory.cr3}:
            self._walk(root, LEVELS, range(256), 0)

    def _walk(self, table: int, level: int, slots: range, above: int) -> None:
        raw = struct.unpack("<512Q", self.ram.read(table, PAGE))
        for index in slots:
            address = above << 9 | index
            entry, page = raw[index], raw[index] >> 12 & PFN_BITS
            if not entry & 1 or (level == LEVELS and index == self.base >> 39 & 0x1FF):
                continue
            self.entries[page].append(self._place(address << 9 * (level - 1), level))
            self.tables[page].add(table // PAGE)
            if level > 1:
                self._walk(page * PAGE, level - 1, range(512), address)

    def _place(self, number: int, level: int) -> int:
        """Where the self-map shows the entry of this level for a page."""
        for _ in range(level):
            place = self.base + 8 * number
            number = place >> 12 & (1 << 36) - 1
        return place


def test_the_page_database_knows_who_maps_a_page(booted, kernel) -> None:
    mapped, first = Mappings(booted, kernel), kernel.read("KeLoaderBlock")
    loaders = number_at(kernel, kernel.view("_KDSIM_LOADER_BLOCK", first).at("FirstFreePage"))
    for page, (entry, share, count, place, frame, _) in frames(booted, kernel):
        if page * PAGE in mapped.roots:
            assert frame == page
        elif place == ACTIVE_AND_VALID and (page >= loaders or mapped.entries[page]):
            assert entry in mapped.entries[page]
            assert (share, count) == (len(mapped.entries[page]), 1)
            assert frame in mapped.tables[page]
        else:
            assert not mapped.entries[page]


def test_tag_tables_equal_the_blocks(kernel) -> None:
    """The heaps' own structures as well."""
    assert tracked(kernel) == Pool(kernel).totals


def test_lookaside_lists_hold_what_they_count(kernel) -> None:
    found = 0
    for name in ("ExNPagedLookasideListHead", "ExPagedLookasideListHead"):
        for head in list_entries(
            kernel.memory, kernel.address(name), kernel.record("_GENERAL_LOOKASIDE"), "ListEntry"
        ):
            depth, link = 0, head.ListHead.HeaderX64.NextEntry << 4
            while link:
                depth, link = depth + 1, number_at(kernel, link)
            assert depth == head.ListHead.HeaderX64.Depth
            kept = head.TotalFrees - head.FreeMisses - (head.TotalAllocates - head.AllocateMisses)
            assert kept == depth
            found += 1
    assert found > 1


# -- objects -------------------------------------------------------------------------------------


def object_header(kernel, body: int) -> View:
    return kernel.containing("_OBJECT_HEADER", "Body", body)


def object_types(kernel) -> dict[str, View]:
    table, found = kernel.address("ObTypeIndexTable"), {}
    for index in range(2, 256):
        if address := number_at(kernel, table + 8 * index):
            view = kernel.view("_OBJECT_TYPE", address)
            found[kernel.unicode(view.Name)] = view
    return found


def named_objects(kernel) -> Counter[int]:
    """What the directories hold, and how often."""
    found: Counter[int] = Counter()
    waiting = [kernel.read("ObpRootDirectoryObject")]
    while waiting:
        inside = directory(kernel, waiting.pop()).values()
        found.update(inside)
        waiting += [body for body in inside if object_type(kernel, body) == "Directory"]
    return found


def open_objects(kernel) -> Counter[int]:
    """What handles lead to, and how many."""
    found: Counter[int] = Counter()
    for process in kernel.processes():
        found.update(handles(kernel, process).values())
    return found


def test_types_count_their_objects_and_handles(kernel) -> None:
    """A type's objects are the pool blocks with its key, where nothing else has that tag."""
    types, opened = object_types(kernel), Counter[str]()
    for body, count in open_objects(kernel).items():
        opened[object_type(kernel, body)] += count
    blocks: Counter[int] = Counter()
    for (tag, _), (count, _) in tracked(kernel).items():
        blocks[tag] += count
    keys = Counter(view.Key for view in types.values())
    assert types["Process"].TotalNumberOfObjects == len(list(kernel.processes()))
    shared = {"Process", "Driver"}  # image names and loader strings have these tags too
    for name, view in types.items():
        assert view.TotalNumberOfHandles == opened[name] <= view.HighWaterNumberOfHandles
        assert view.TotalNumberOfObjects <= view.HighWaterNumberOfObjects
        if keys[view.Key] == 1 and name not in shared:
            assert view.TotalNumberOfObjects == blocks[view.Key], name


def test_objects_count_what_refers_to_them(kernel) -> None:
    """Handles exactly; pointers at least: what drivers keep for themselves nobody can know."""
    opened, named = open_objects(kernel), named_objects(kernel)
    pointers = opened + named
    for process in kernel.processes():
        pointers[process.address] += len(list(kernel.threads(process)))
        pointers[token_of(kernel, process).address] += 1 + FAST_REF
        for thread in kernel.threads(process):
            pointers[thread.address] += 1
    for body in pointers:
        header = object_header(kernel, body)
        assert header.HandleCount == opened[body]
        assert (header.NewObject, header.ObjectCreateInfo) == (0, 0), object_type(kernel, body)
        assert header.PointerCount >= pointers[body], object_type(kernel, body)


def test_security_descriptors_count_the_objects_they_protect(kernel) -> None:
    """Each object holds the sixteen references that its fast reference can give out."""
    bodies = {*open_objects(kernel), *named_objects(kernel)}
    for process in kernel.processes():
        bodies |= {process.address, token_of(kernel, process).address}
        bodies |= {thread.address for thread in kernel.threads(process)}
    counted: Counter[int] = Counter()
    for body in bodies:
        if descriptor := object_header(kernel, body).SecurityDescriptor:
            counted[descriptor & ~FAST_REF] += 1 + (descriptor & FAST_REF)
    head = kernel.address("ObsSecurityDescriptorCache")
    record = kernel.record("_SECURITY_DESCRIPTOR_HEADER")
    kept = {
        header.at("SecurityDescriptor"): header.RefCount
        for header in list_entries(kernel.memory, head, record, "Link")
    }
    assert kept == counted


def test_resources_are_owned_by_threads(kernel) -> None:
    alive = {thread.address for thread in threads(kernel)}
    head = kernel.address("ExpSystemResourcesList")
    for resource in list_entries(
        kernel.memory, head, kernel.record("_ERESOURCE"), "SystemResourcesList"
    ):
        size = kernel.record("_OWNER_ENTRY").size
        table = resource.OwnerTable
        count = kernel.view("_OWNER_ENTRY", table).TableSize if table else 0
        owners = [resource.OwnerEntry.OwnerThread]
        owners += [number_at(kernel, table + index * size) for index in range(1, count)]
        held = [owner for owner in owners if owner]
        assert len(held) == resource.ActiveEntries
        assert {owner & ~3 for owner in held} <= alive


# -- drivers -------------------------------------------------------------------------------------


def test_modules_lie_side_by_side(kernel) -> None:
    modules = sorted(kernel.modules(), key=lambda module: module.base)
    assert all(a.base + a.size <= b.base for a, b in pairwise(modules))
    for module in modules:
        image = PeImage.from_memory(kernel.memory, module.base)
        entry = kernel.view("_KLDR_DATA_TABLE_ENTRY", module.entry)
        assert image.size_of_image == module.size
        assert image.timestamp == entry.TimeDateStamp


def test_drivers_own_their_devices(kernel) -> None:
    sections = {module.entry: module.base for module in kernel.modules()}
    for driver in drivers(kernel).values():
        assert sections[driver.DriverSection] == driver.DriverStart
        address = driver.DeviceObject
        while address:
            device = kernel.view("_DEVICE_OBJECT", address)
            assert device.DriverObject == driver.address
            below = kernel.view("_DEVOBJ_EXTENSION", device.DeviceObjectExtension)
            assert below.DeviceObject == address
            if device.AttachedDevice:
                upper = kernel.view("_DEVICE_OBJECT", device.AttachedDevice)
                extension = kernel.view("_DEVOBJ_EXTENSION", upper.DeviceObjectExtension)
                assert extension.AttachedTo == address
                assert upper.StackSize == device.StackSize + 1
            address = device.NextDevice


def test_requests_are_listed_by_their_threads(kernel) -> None:
    for process in kernel.processes():
        for thread in kernel.threads(process):
            for irp in list_entries(
                kernel.memory, thread.at("IrpList"), kernel.record("_IRP"), "ThreadListEntry"
            ):
                assert irp["Tail.Overlay.Thread"] == thread.address
                assert 1 <= irp.CurrentLocation <= irp.StackCount + 1


def verified(kernel) -> list[View]:
    """The drivers the verifier watches, of those that are loaded."""
    found = []
    tree = kernel.view("_VF_AVL_TREE", kernel.address("ViTargetDriversAvl"))
    header = kernel.record("_RTL_BALANCED_LINKS").size
    table = kernel.view("_VF_AVL_TABLE", tree.Tables)
    waiting = [table["RtlTable.BalancedRoot.RightChild"]]
    while waiting:
        if link := waiting.pop():
            links = kernel.view("_RTL_BALANCED_LINKS", link)
            waiting += [links.LeftChild, links.RightChild]
            found.append(kernel.view("_VF_TARGET_DRIVER", link + header))
    assert len(found) == table["RtlTable.NumberGenericTableElements"] == tree.NodeCount
    return found


def test_the_verifier_knows_every_block_of_its_drivers(kernel) -> None:
    modules = {module.base: module.name for module in kernel.modules()}
    totals: Counter[str] = Counter()
    for driver in verified(kernel):
        assert driver["TreeNode.Base.p"] in modules
        data = kernel.view("_VF_TARGET_VERIFIED_DRIVER_DATA", driver.VerifiedData)
        slots = outstanding(kernel, data)
        for kind in ("Paged", "NonPaged"):
            totals[f"Current{kind}PoolAllocations"] += data[f"Current{kind}PoolAllocations"]
            totals[f"{kind}Bytes"] += data[f"{kind}Bytes"]
        counted = data.CurrentPagedPoolAllocations + data.CurrentNonPagedPoolAllocations
        assert counted == len(slots)
        assert data.PagedBytes + data.NonPagedBytes == sum(slot.NumberOfBytes for slot in slots)
    everybody = kernel.view("_MM_DRIVER_VERIFIER_DATA", kernel.address("MmVerifierData"))
    assert {name: everybody[name] for name in totals} == totals
