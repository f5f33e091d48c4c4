"""What the lab's drivers keep in memory, rebuilt from a booted machine's bytes alone."""

from __future__ import annotations

import pytest

from kdsim.resources import resource_path
from kdsim.symbols.pdb import Pdb
from kdsim.symbols.views import View, list_entries
from tests.target.booted import Debugged, small_lab
from tests.target.test_guest_executive import drivers

IO_TYPE_IRP, IO_TYPE_FILE, INTERRUPT_OBJECT = 6, 5, 22
MAJOR_READ = 3
PENDING, ALWAYS = 0x01, 0xE0
PULSE_VECTOR, CLOCK_VECTOR = 0x91, 0xD1
SECOND = 10_000_000


def extension(kernel, driver: str) -> View:
    """The device extension of a driver's device, as its own PDB describes it."""
    (path,) = resource_path("targets", "images", f"{driver}.pdb").rglob("*.pdb")
    record = {"pulse": "_PULSE_EXTENSION", "pulseflt": "_FILTER_EXTENSION"}[driver]
    device = kernel.view("_DEVICE_OBJECT", drivers(kernel)[driver].DeviceObject)
    return View(kernel.memory, Pdb.open(path).type(record), device.DeviceExtension)


def image(kernel, name: str) -> range:
    module = next(m for m in kernel.modules() if m.name == f"{name}.sys")
    return range(module.base, module.base + module.size)


def pending_reads(kernel) -> list[View]:
    head = extension(kernel, "pulse").at("Reads")
    irps = list_entries(kernel.memory, head, kernel.record("_IRP"), "Tail.Overlay.ListEntry")
    return list(irps)


def locations(kernel, irp: View) -> list[View]:
    size = kernel.record("_IO_STACK_LOCATION").size
    first = irp.address + irp.record.size
    places = (first + index * size for index in range(irp.StackCount))
    return [kernel.view("_IO_STACK_LOCATION", place) for place in places]


def test_a_device_stack_is_linked_both_ways(kernel):
    lower = kernel.view("_DEVICE_OBJECT", drivers(kernel)["pulse"].DeviceObject)
    upper = kernel.view("_DEVICE_OBJECT", lower.AttachedDevice)
    assert upper.DriverObject == drivers(kernel)["pulseflt"].address
    below = kernel.view("_DEVOBJ_EXTENSION", upper.DeviceObjectExtension)
    assert below.AttachedTo == lower.address == extension(kernel, "pulseflt").Lower
    assert (upper.StackSize, lower.StackSize, upper.AttachedDevice) == (2, 1, 0)


def test_reads_wait_in_the_driver(kernel):
    reads = pending_reads(kernel)
    assert len(reads) == 2
    threads = {t.address for p in kernel.processes() for t in kernel.threads(p)}
    for irp in reads:
        assert (irp.Type, irp.StackCount, irp.CurrentLocation) == (IO_TYPE_IRP, 2, 1)
        assert irp["Tail.Overlay.Thread"] in threads
        assert irp.CancelRoutine in image(kernel, "pulse")
        lower, upper = locations(kernel, irp)
        assert irp["Tail.Overlay.CurrentStackLocation"] == lower.address
        assert [lower.MajorFunction, upper.MajorFunction] == [MAJOR_READ, MAJOR_READ]
        assert (lower.Control, upper.Control) == (ALWAYS | PENDING, ALWAYS)
        assert lower.CompletionRoutine in image(kernel, "pulseflt")
        assert upper.CompletionRoutine in image(kernel, "monitor")
        file = kernel.view("_FILE_OBJECT", lower.FileObject)
        assert (file.Type, file.ReadAccess) == (IO_TYPE_FILE, 1)
        device = kernel.view("_DEVICE_OBJECT", file.DeviceObject)
        assert (device.address, device.ReferenceCount) == (lower.DeviceObject, 1)


def contended_resource(kernel):
    """The one that is fought over: monitor's."""
    head = kernel.address("ExpSystemResourcesList")
    record = kernel.record("_ERESOURCE")
    resources = list_entries(kernel.memory, head, record, "SystemResourcesList")
    (found,) = (resource for resource in resources if resource.ContentionCount)
    return found


def test_readers_share_a_resource_the_writer_waits_for(kernel):
    resource = contended_resource(kernel)
    owners = {resource.OwnerEntry.OwnerThread}
    size = kernel.record("_OWNER_ENTRY").size
    for index in range(1, kernel.view("_OWNER_ENTRY", resource.OwnerTable).TableSize):
        owners.add(kernel.view("_OWNER_ENTRY", resource.OwnerTable + index * size).OwnerThread)
    owners.discard(0)
    assert owners == {irp["Tail.Overlay.Thread"] for irp in pending_reads(kernel)}
    assert (resource.ActiveEntries, resource.NumberOfExclusiveWaiters) == (2, 1)
    event = kernel.view("_DISPATCHER_HEADER", resource.ExclusiveWaiters)
    blocks = kernel.record("_KWAIT_BLOCK")
    waits = list_entries(kernel.memory, event.at("WaitListHead"), blocks, "WaitListEntry")
    assert len([block.Thread for block in waits]) == 1


@pytest.mark.parametrize(
    ("vector", "driver"),
    [pytest.param(PULSE_VECTOR, "pulse", id="device"), pytest.param(CLOCK_VECTOR, "", id="clock")],
)
def test_vectors_lead_to_interrupt_objects(kernel, vector: int, driver: str):
    """The same object on every processor; the gate leads to its dispatch address."""
    objects = {prcb.InterruptObject[vector] for prcb in kernel.processors()}
    (address,) = objects
    interrupt = kernel.view("_KINTERRUPT", address)
    assert (interrupt.Type, interrupt.Vector, interrupt.Irql) == (
        INTERRUPT_OBJECT,
        vector,
        vector >> 4,
    )
    if driver:
        assert interrupt.ServiceRoutine in image(kernel, driver)
        assert interrupt.ServiceContext == extension(kernel, driver).address
    for prcb in kernel.processors():
        pcr = kernel.view("_KPCR", prcb.address - kernel.record("_KPCR").offset("Prcb"))
        gate = kernel.view("_KIDTENTRY64", pcr.IdtBase + 16 * vector)
        target = gate.OffsetLow | gate.OffsetMiddle << 16 | gate.OffsetHigh << 32
        assert target == interrupt.DispatchAddress
        assert gate.Present


def test_a_device_interrupt_runs_its_service_routine(fresh: Debugged):
    machine, kernel = fresh.system.machine, fresh.kernel
    pulse = extension(kernel, "pulse")
    interrupt = kernel.view("_KINTERRUPT", pulse.Interrupt)
    waiting = len(pending_reads(kernel))
    assert (pulse.Samples, interrupt.ServiceCount) == (0, 0)
    machine.current.rip += 1
    machine.raise_interrupt(1, PULSE_VECTOR)
    fresh.go()
    machine.run(until=machine.clock.now() + SECOND // 20)
    assert (pulse.Samples, interrupt.ServiceCount) == (1, 1)
    assert len(pending_reads(kernel)) == waiting - 1


def test_samples_go_to_the_readers_and_the_table_is_sorted():
    """Everybody gets his turn: reads complete, the writer owns the table now and then."""
    debugged = Debugged(small_lab(tasks=()))
    debugged.run_to_stop()
    machine, kernel = debugged.system.machine, debugged.kernel
    machine.current.rip += 1
    debugged.go()
    machine.run(until=machine.clock.now() + 10 * SECOND)
    assert extension(kernel, "pulse").Samples == 25
    assert extension(kernel, "pulseflt").Reads >= 20
    assert contended_resource(kernel).ContentionCount > 10
    debugged.system.close()


def test_irps_come_from_the_processors_lists(kernel):
    """What the small and large lists gave out and took back adds up to what is in flight."""
    given = taken = 0
    for prcb in kernel.processors():
        for number in (0, 1):
            lists = prcb.PPLookasideList[number]
            own = kernel.view("_GENERAL_LOOKASIDE", lists.P)
            assert own.TotalAllocates - own.AllocateMisses >= 0
            given += own.TotalAllocates
            taken += own.TotalFrees
            assert own.ListHead.HeaderX64.Depth <= own.Depth
    assert given - taken == len(pending_reads(kernel))


def test_a_machine_at_rest_touches_no_further_pages(fresh: Debugged):
    """tidy.sys uses five pages four times a second: always the same ones."""
    machine, kernel = fresh.system.machine, fresh.kernel
    machine.current.rip += 1
    fresh.go()
    lists = kernel.view("_MI_PARTITION", kernel.address("MiSystemPartition")).PageLists
    machine.run(until=machine.clock.now() + SECOND // 2)
    before = lists.ZeroedPageListHead.Total
    machine.run(until=machine.clock.now() + SECOND // 2)
    assert lists.ZeroedPageListHead.Total == before
