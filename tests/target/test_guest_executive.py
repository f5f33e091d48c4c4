"""Pool, objects, drivers and the verifier, rebuilt from a booted machine's bytes."""

import random

import pytest

from kdsim.symbols.views import View, list_entries
from kdsim.target.lab import Task, Verifier
from kdsim.target.machine.machine import Reason
from kdsim.wire.messages import ExceptionChange, LoadSymbolsChange
from tests.target.booted import Debugged, small_lab
from tests.target.guestcalls import bug_check, call, go_on

PAGE = 0x1000
MASK = (1 << 64) - 1
HEAP_NAMES = ("NonPaged", "NonPagedNx", "Paged")
NON_PAGED_NX, PAGED, NON_PAGED = 0x200, 1, 0
CACHE_ALIGNED = 4
TEST_TAG = int.from_bytes(b"Test", "little")
LOADER_TAG = int.from_bytes(b"MmLd", "little")
LEAK_TAG = int.from_bytes(b"Abc ", "little")
PROTECTED = 1 << 31
RB_RED = 1


# -- the pool's own structures


class Pool:
    """Every structure of the pool, walked and checked; what is in use is collected."""

    def __init__(self, kernel) -> None:
        self.kernel = kernel
        self.key = kernel.view("_RTLP_HP_HEAP_GLOBALS", kernel.address("RtlpHpHeapGlobals")).HeapKey
        state = kernel.view("_EX_POOL_HEAP_MANAGER_STATE", kernel.address("ExPoolState"))
        self.heaps = [kernel.view("_SEGMENT_HEAP", state.PoolNode[0].Heaps[i]) for i in range(3)]
        self.totals: dict[tuple[int, bool], list[int]] = {}
        """(tag, paged) -> blocks and bytes, as the tracker tables count them."""
        for index, heap in enumerate(self.heaps):
            self._chunks(heap, HEAP_NAMES[index] == "Paged")
            for context in range(2):
                self._segments(heap, heap.SegContexts[context])
        self._big_pages()

    def _add(self, tag: int, paged: bool, size: int) -> None:
        total = self.totals.setdefault((tag & ~PROTECTED, paged), [0, 0])
        total[0] += 1
        total[1] += size

    def _tree(self, root: int, least: int) -> list[int]:
        """Nodes of a red-black tree in order, after checking its rules."""
        if not root:
            assert not least
            return []
        nodes: list[int] = []

        def visit(node: int, parent: int, red: bool) -> int:
            if not node:
                return 1
            view = self.kernel.view("_RTL_BALANCED_NODE", node)
            is_red = bool(view.ParentValue & RB_RED)
            assert view.ParentValue & ~3 == parent
            assert not (red and is_red)
            left = visit(view.Left, node, is_red)
            nodes.append(node)
            assert visit(view.Right, node, is_red) == left
            return left + (not is_red)

        visit(root, 0, True)
        assert nodes[0] == least
        return nodes

    def _chunks(self, heap: View, paged: bool) -> None:
        """VS subsegments: headers agree, free neighbours are joined, the tree has them all."""
        context, free = heap.VsContext, []
        record = self.kernel.record("_HEAP_VS_SUBSEGMENT")
        for subsegment in list_entries(
            self.kernel.memory, context.at("SubsegmentList"), record, "ListEntry"
        ):
            assert (subsegment.Size ^ subsegment.Signature) & 0x7FFF == 0x2BED
            offset, previous, was_free = 0x30, 0, False
            while offset < subsegment.Size * 16:
                chunk = subsegment.address + offset
                size, last, allocated = self._decode(chunk)
                assert last == previous
                assert not (was_free and not allocated)
                if allocated:
                    page = self.kernel.memory.read(chunk + 8, 1)[0] ^ (chunk ^ self.key) & 0xFF
                    assert page == offset // PAGE
                    self._block(chunk + 16, size * 16 - 16, paged)
                else:
                    free.append((size, chunk + 8))
                offset, previous, was_free = offset + size * 16, size, not allocated
            assert offset == subsegment.Size * 16
        tree = self._tree(context.FreeChunkTree.Root, context.FreeChunkTree.Min)
        assert sorted(tree) == sorted(node for _, node in free)
        sizes = {node: size for size, node in free}
        assert [sizes[node] for node in tree] == sorted(sizes.values())
        assert context.FreeCommittedUnits == sum(sizes.values())

    def _decode(self, chunk: int) -> tuple[int, int, bool]:
        """Units, units of the chunk before, in use."""
        bits = int.from_bytes(self.kernel.memory.read(chunk, 8), "little") ^ chunk ^ self.key
        assert bits >> 48 in (0, 1)
        return bits >> 16 & 0xFFFF, bits >> 32 & 0xFFFF, bool(bits >> 48)

    def _block(self, address: int, room: int, paged: bool) -> None:
        header = self.kernel.view("_POOL_HEADER", address)
        if header.PoolType & CACHE_ALIGNED or not header.PoolType & 2:
            # The header stands further up, before a cache line.
            header = next(
                view
                for view in (
                    self.kernel.view("_POOL_HEADER", line - 16)
                    for line in range(address + 16 + 63 & ~63, address + 192, 64)
                )
                if view.PoolType & CACHE_ALIGNED
                and view.PreviousSize * 16 == view.address - address
            )
        assert header.PoolType & 3 == 2 | paged
        assert header.BlockSize * 16 <= room
        assert (header.address + 16) % PAGE
        self._add(header.PoolTag, paged, header.BlockSize * 16)

    def _segments(self, heap: View, context: View) -> None:
        """Page ranges tile their segments; the free ones are in the tree."""
        record = self.kernel.record("_HEAP_PAGE_SEGMENT")
        descriptor = self.kernel.record("_HEAP_PAGE_RANGE_DESCRIPTOR")
        free = []
        head = context.at("SegmentListHead")
        for segment in list_entries(self.kernel.memory, head, record, "ListEntry"):
            assert segment.address & ~context.SegmentMask & MASK == 0
            encoded = segment.address ^ context.address ^ self.key ^ 0xA2E64EADA2E64EAD
            assert segment.Signature == encoded
            assert heap.address == context.Heap
            unit, was_free = context.FirstDescriptorIndex, False
            while unit < 256:
                first = segment.DescArray[unit]
                assert first.RangeFlags & 2
                allocated = bool(first.RangeFlags & 1)
                assert not (was_free and not allocated)
                if allocated:
                    assert first.TreeSignature == 0xCCDDCCDD
                    rest = [segment.DescArray[unit + i] for i in range(1, first.UnitSize)]
                    assert [entry.UnitOffset for entry in rest] == list(range(1, first.UnitSize))
                else:
                    free.append(segment.address + unit * descriptor.size)
                unit, was_free = unit + first.UnitSize, not allocated
            assert unit == 256
        tree = self._tree(context.FreePageRanges.Root, context.FreePageRanges.Min)
        assert sorted(tree) == sorted(free)

    def _big_pages(self) -> None:
        record = self.kernel.record("_POOL_TRACKER_BIG_PAGES")
        table, count = self.kernel.read("PoolBigPageTable"), 0
        for slot in range(self.kernel.read("PoolBigPageTableSize")):
            entry = View(self.kernel.memory, record, table + slot * record.size)
            if not entry.Va & 1:
                count += 1
                self._add(entry.Key, bool(entry.PoolType & PAGED), entry.NumberOfBytes)
        assert count == self.kernel.read("ExpPoolBigEntriesInUse", 4)


def tracked(kernel) -> dict[tuple[int, bool], list[int]]:
    """What the tag tables say, in the form of `Pool.totals`."""
    found = {}
    for tag, total in kernel.tag_totals().items():
        nonpaged = [total.nonpaged_allocations - total.nonpaged_frees, total.nonpaged_bytes]
        paged = [total.paged_allocations - total.paged_frees, total.paged_bytes]
        found |= {(tag, False): nonpaged, (tag, True): paged}
    return {key: value for key, value in found.items() if any(value)}


def test_tag_tables_equal_the_blocks_after_a_minute_of_leaking() -> None:
    debugged = leaking()
    run_to_bug_check(debugged)
    totals = Pool(debugged.kernel).totals
    assert tracked(debugged.kernel) == totals
    leaked = totals[LEAK_TAG, False][0] + totals[LEAK_TAG, True][0]
    assert bug_check(debugged)[4] == leaked > 20
    debugged.system.close()


def test_random_allocations() -> None:
    """Blocks of all kinds never overlap, keep their bytes, and the walk finds exactly them."""
    debugged = Debugged()
    debugged.run_to_stop()
    kernel, choose = debugged.kernel, random.Random(1)
    live: dict[int, tuple[int, bytes]] = {}
    kinds = (NON_PAGED, NON_PAGED_NX, PAGED, NON_PAGED_NX | CACHE_ALIGNED)
    for step in range(400):
        if live and choose.random() < 0.45:
            block, (size, pattern) = live.popitem()
            assert kernel.memory.read(block, size) == pattern
            call(debugged, "ExFreePoolWithTag", block, TEST_TAG)
            continue
        kind = choose.choice(kinds)
        size = choose.choice((1, 16, 100, 600, 0xFD0, 0xFE0, 0xFE1, 0x2345, 0x80000))
        block = call(debugged, "ExAllocatePoolWithTag", kind, size, TEST_TAG)
        assert block
        assert block % (64 if kind & CACHE_ALIGNED else 16) == 0
        assert all(block >= b + s or block + size <= b for b, (s, _) in live.items())
        pattern = bytes([step & 0xFF]) * size
        kernel.memory.write(block, pattern)
        live[block] = size, pattern
    totals = Pool(kernel).totals
    assert totals == tracked(kernel)
    count = sum(totals.get((TEST_TAG, paged), [0])[0] for paged in (False, True))
    assert count == len(live)
    for block in live:
        call(debugged, "ExFreePoolWithTag", block, TEST_TAG)
    assert not {tag for tag, _ in Pool(kernel).totals} & {TEST_TAG}
    debugged.system.close()


def test_exhausted_pool_fails_and_recovers() -> None:
    debugged = Debugged(small_lab(ram=64 << 20))
    debugged.run_to_stop()
    size, blocks = 1 << 20, []
    while block := call(debugged, "ExAllocatePoolWithTag", NON_PAGED_NX, size, TEST_TAG):
        blocks.append(block)
    assert 10 < len(blocks) < 64
    assert debugged.kernel.read("ExPoolFailures", 4) == 1
    for block in blocks:
        call(debugged, "ExFreePoolWithTag", block, TEST_TAG)
    assert call(debugged, "ExAllocatePoolWithTag", NON_PAGED_NX, size, TEST_TAG)
    assert Pool(debugged.kernel).totals == tracked(debugged.kernel)
    debugged.system.close()


def allocate(debugged: Debugged, size: int = 100, tag: int = TEST_TAG) -> int:
    block = call(debugged, "ExAllocatePoolWithTag", NON_PAGED_NX, size, tag)
    assert block
    return block


def twice(debugged: Debugged) -> tuple[int, ...]:
    block = allocate(debugged)
    call(debugged, "ExFreePoolWithTag", block, 0)
    return ("ExFreePoolWithTag", block, 0)


def damaged_header(debugged: Debugged) -> tuple[int, ...]:
    block = allocate(debugged)
    debugged.kernel.memory.write(block - 16, b"AAAA")
    return ("ExFreePoolWithTag", block, 0)


def damaged_chunk(debugged: Debugged) -> tuple[int, ...]:
    block = allocate(debugged)
    debugged.kernel.memory.write(block - 32, b"A" * 8)
    return ("ExFreePoolWithTag", block, 0)


@pytest.mark.parametrize(
    ("prepare", "code", "first"),
    [
        pytest.param(lambda d: ("ExAllocatePoolWithTag", 0, 16, 0), 0xC2, 0x9B, id="no tag"),
        pytest.param(lambda d: ("ExAllocatePoolWithTag", 2, 16, 1), 0xC2, 0x9A, id="must succeed"),
        pytest.param(lambda d: ("ExFreePoolWithTag", 0x1230, 0), 0xC2, 0x40, id="user address"),
        pytest.param(
            lambda d: ("ExFreePoolWithTag", d.kernel.base + 0x10, 0), 0xC2, 0x99, id="no pool"
        ),
        pytest.param(
            lambda d: ("ExFreePoolWithTag", allocate(d, 9000) + PAGE, 0), 0xC2, 0x99, id="inside"
        ),
        pytest.param(
            lambda d: ("ExFreePoolWithTag", allocate(d, tag=TEST_TAG | PROTECTED), 1),
            0xC2,
            0x0A,
            id="protected by another tag",
        ),
        pytest.param(twice, 0xC2, 0x07, id="freed twice"),
        pytest.param(damaged_header, 0x19, 0x20, id="damaged pool header"),
        pytest.param(damaged_chunk, 0x13A, 3, id="damaged heap header"),
    ],
)
def test_bad_callers(prepare, code: int, first: int) -> None:
    debugged = Debugged()
    debugged.run_to_stop()
    assert call(debugged, *prepare(debugged)) is None
    assert bug_check(debugged)[:2] == (code, first)
    debugged.system.close()


# -- objects


def directory(kernel, address: int) -> dict[str, int]:
    """Name -> object, bucket by bucket; every entry lies in the bucket its hash names."""
    found = {}
    buckets = kernel.view("_OBJECT_DIRECTORY", address).HashBuckets
    for number in range(37):
        link = buckets[number]
        while link:
            entry = kernel.view("_OBJECT_DIRECTORY_ENTRY", link)
            assert entry.HashValue % 37 == number
            name, owner = object_name(kernel, entry.Object)
            assert owner == address
            found[name] = entry.Object
            link = entry.ChainLink
    return found


def object_header(kernel, body: int) -> View:
    return kernel.containing("_OBJECT_HEADER", "Body", body)


def object_name(kernel, body: int) -> tuple[str, int]:
    header = object_header(kernel, body)
    offset = kernel.memory.read(kernel.address("ObpInfoMaskToOffset") + (header.InfoMask & 3), 1)[0]
    info = kernel.view("_OBJECT_HEADER_NAME_INFO", header.address - offset)
    return kernel.unicode(info.Name), info.Directory


def type_name(kernel, body: int) -> str:
    header = object_header(kernel, body)
    index = header.TypeIndex ^ (header.address >> 8 & 0xFF) ^ kernel.read("ObHeaderCookie", 1)
    table = kernel.memory.read(kernel.address("ObTypeIndexTable") + 8 * index, 8)
    found = kernel.view("_OBJECT_TYPE", int.from_bytes(table, "little"))
    assert found.Index == index
    return kernel.unicode(found.Name)


def test_name_space(booted) -> None:
    kernel = booted.kernel
    root = directory(kernel, kernel.read("ObpRootDirectoryObject"))
    assert {type_name(kernel, body) for body in root.values()} == {"Directory", "SymbolicLink"}
    assert {"Driver", "Device", "ObjectTypes", "GLOBAL??", "BaseNamedObjects", "??"} <= set(root)
    types = directory(kernel, root["ObjectTypes"])
    assert {"Type", "Directory", "Process", "Thread", "Driver", "Device", "File"} <= set(types)
    for name, body in types.items():
        view = kernel.view("_OBJECT_TYPE", body)
        assert type_name(kernel, body) == "Type"
        assert kernel.unicode(view.Name) == name
        tag = "ObjT" if name == "Type" else name[:4].ljust(4)
        assert view.Key.to_bytes(4, "little") == tag.encode()


@pytest.mark.parametrize(
    ("name", "index"),
    [("Type", 2), ("Directory", 3), ("SymbolicLink", 4), ("Process", 7), ("Thread", 8)],
)
def test_type_indexes_are_those_of_the_build(booted, name: str, index: int) -> None:
    kernel = booted.kernel
    root = directory(kernel, kernel.read("ObpRootDirectoryObject"))
    body = directory(kernel, root["ObjectTypes"])[name]
    assert kernel.view("_OBJECT_TYPE", body).Index == index


# -- drivers


def drivers(kernel) -> dict[str, View]:
    root = directory(kernel, kernel.read("ObpRootDirectoryObject"))
    found = directory(kernel, root["Driver"])
    return {name: kernel.view("_DRIVER_OBJECT", body) for name, body in found.items()}


def leaking() -> Debugged:
    debugged = Debugged()
    debugged.run_to_stop()
    return debugged


def run_to_bug_check(debugged: Debugged) -> list:
    changes = []
    while not debugged.kernel.read("KiBugCheckData"):
        changes.append(go_on(debugged))
    return changes


def test_boot_driver(booted) -> None:
    kernel = booted.kernel
    tidy = drivers(kernel)["tidy"]
    entry = kernel.view("_KLDR_DATA_TABLE_ENTRY", tidy.DriverSection)
    assert kernel.unicode(entry.BaseDllName) == "tidy.sys"
    assert (tidy.DriverStart, tidy.DriverSize) == (entry.DllBase, entry.SizeOfImage)
    assert kernel.unicode(tidy.DriverName) == r"\Driver\tidy"
    device = kernel.view("_DEVICE_OBJECT", tidy.DeviceObject)
    assert device.DriverObject == tidy.address
    assert object_name(kernel, device.address)[0] == "Tidy"
    assert device.Flags & 0x80 == 0
    extension = kernel.view("_DEVOBJ_EXTENSION", device.DeviceObjectExtension)
    assert extension.DeviceObject == device.address


def test_leak_is_found_at_unload() -> None:
    debugged = leaking()
    kernel = debugged.kernel
    changes = run_to_bug_check(debugged)
    assert [type(change) for change in changes] == [LoadSymbolsChange, ExceptionChange]
    code, first, name, driver, count = bug_check(debugged)
    assert (code, first) == (0xC4, 0x62)
    assert kernel.unicode(kernel.view("_UNICODE_STRING", name)) == "leaky.sys"
    target = kernel.view("_VF_TARGET_DRIVER", driver)
    data = kernel.view("_VF_TARGET_VERIFIED_DRIVER_DATA", target.VerifiedData)
    assert count == data.CurrentPagedPoolAllocations + data.CurrentNonPagedPoolAllocations
    entries = outstanding(kernel, data)
    assert len(entries) == count
    assert sum(entry.NumberOfBytes for entry in entries) == data.PagedBytes + data.NonPagedBytes
    for entry in entries:
        assert entry.Tag == LEAK_TAG
        assert target.TreeNode.Base.p < entry.CallingAddress
        header = kernel.view("_POOL_HEADER", entry.VirtualAddress - 16)
        end = header.address + header.BlockSize * 16
        assert int.from_bytes(kernel.memory.read(end - 8, 8), "little") == entry.address
    debugged.system.close()


def outstanding(kernel, data: View) -> list[View]:
    page, found = data.PoolPageHeaders.Region & ~0xF, []
    while page:
        header = kernel.view("_VI_POOL_PAGE_HEADER", page)
        assert header.VerifierEntry == data.address
        slots = [kernel.view("_VI_POOL_ENTRY", page + 32 * i).InUse for i in range(1, 128)]
        found += [slot for slot in slots if slot.NumberOfBytes]
        page = header.NextPage
    return found


def test_unverified_drivers_unload_quietly() -> None:
    """Without the verifier leaky just goes, and its blocks stay."""
    debugged = Debugged(small_lab(verifier=Verifier()))
    debugged.run_to_stop()
    kernel = debugged.kernel
    changes = [go_on(debugged)]
    changes.append(go_on(debugged))
    assert [change.unload for change in changes] == [False, True]
    debugged.go()
    debugged.system.machine.run(until=debugged.system.machine.clock.now() + 10_000_000)
    assert "leaky" not in drivers(kernel)
    assert "leaky.sys" not in [image.name for image in kernel.modules()]
    assert tracked(kernel)[LEAK_TAG, False][0] > 0
    slot = kernel.view("_UNLOADED_DRIVERS", kernel.read("MmUnloadedDrivers"))
    assert kernel.unicode(slot.Name) == "leaky.sys"
    debugged.system.close()


def test_loading_and_unloading_leaves_nothing() -> None:
    """tidy, verified, comes and goes: no bug check, and the pool has the same blocks each time."""
    # One more than is waited for: the controller itself stays.
    tasks = [Task(at=1.0 + step, driver="tidy.sys", start=step % 2 == 0) for step in range(11)]
    verifier = Verifier(flags=0x209BB, drivers=("tidy.sys",))
    debugged = Debugged(small_lab(boot_drivers=(), tasks=tuple(tasks), verifier=verifier))
    debugged.run_to_stop()
    machine, kernel = debugged.system.machine, debugged.kernel
    change, seen = go_on(debugged), []
    while True:
        assert isinstance(change, LoadSymbolsChange)
        assert not change.unload
        assert go_on(debugged).unload
        debugged.go()
        assert machine.run(until=machine.clock.now() + 1_000_000).reason is Reason.UNTIL
        totals = tracked(kernel)
        assert totals == Pool(kernel).totals
        # Each unload adds a name to the ring of unloaded drivers.
        count, size = totals.pop((LOADER_TAG, False))
        assert (count, size) == (len(seen) + 1, (len(seen) + 1) * size // count)
        seen.append(totals)
        if len(seen) == len(tasks) // 2:
            break
        change = debugged.run_to_stop()
    assert all(totals == seen[0] for totals in seen)
    debugged.system.close()


def test_boot_driver_can_be_stopped() -> None:
    """Its image lies outside the driver region, its loader entry outside the pool."""
    debugged = Debugged(small_lab(tasks=(Task(at=1.0, driver="tidy.sys", start=False),)))
    debugged.run_to_stop()
    change, machine = go_on(debugged), debugged.system.machine
    assert isinstance(change, LoadSymbolsChange)
    assert change.unload
    debugged.go()
    assert machine.run(until=machine.clock.now() + 10_000_000).reason is Reason.UNTIL
    assert set(drivers(debugged.kernel)) == {"monitor", "pulse", "pulseflt"}
    assert tracked(debugged.kernel) == Pool(debugged.kernel).totals
    debugged.system.close()
