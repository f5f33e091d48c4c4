"""Drivers and devices: the object lists, device stacks, volume parameter blocks.

Walks: DRIVER_OBJECT.DeviceObject and NextDevice; DEVICE_OBJECT.AttachedDevice upwards,
DEVOBJ_EXTENSION.AttachedTo downwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kdsim.debugger.inspect import objects
from kdsim.debugger.inspect.nt import LIST_LIMIT, Nt
from kdsim.errors import KdsimError, SymbolError
from kdsim.symbols.types import Pointer
from kdsim.symbols.views import View

STACK_LIMIT = 256


def driver_name(nt: Nt, device: int) -> str:
    """Name of the driver behind a device, empty for no device."""
    if not device:
        return ""
    driver = nt.view("_DEVICE_OBJECT", device).DriverObject
    return nt.unicode(nt.view("_DRIVER_OBJECT", driver).DriverName) if driver else ""


def device_name(nt: Nt, device: int) -> str:
    """Name of a device object; empty when it has none, or when its header is unreadable."""
    try:
        return objects.object_at(nt, device).name
    except KdsimError:
        return ""


def devices_of(nt: Nt, driver: View) -> list[int]:
    """DRIVER_OBJECT.DeviceObject and its NextDevice chain."""
    found: list[int] = []
    device = driver.DeviceObject
    while device and len(found) < LIST_LIMIT:
        found.append(device)
        device = nt.view("_DEVICE_OBJECT", device).NextDevice
    return found


def stack_of(nt: Nt, device: int) -> list[int]:
    """The device stack a device belongs to, top first."""
    top = device
    for _ in range(STACK_LIMIT):
        upper = nt.view("_DEVICE_OBJECT", top).AttachedDevice
        if not upper:
            break
        top = upper
    stack = [top]
    while len(stack) < STACK_LIMIT:
        lower = attached_to(nt, stack[-1])
        if not lower:
            break
        stack.append(lower)
    return stack


def attached_to(nt: Nt, device: int) -> int:
    """The device below, 0 for the lowest."""
    extension = nt.view("_DEVICE_OBJECT", device).DeviceObjectExtension
    return int(nt.view("_DEVOBJ_EXTENSION", extension).AttachedTo) if extension else 0


def device_node(nt: Nt, device: int) -> int:
    """The DEVICE_NODE of a physical device object, 0 for other devices."""
    extension = nt.view("_DEVICE_OBJECT", device).DeviceObjectExtension
    return int(nt.view("_DEVOBJ_EXTENSION", extension).DeviceNode) if extension else 0


@dataclass(frozen=True, slots=True)
class NodeText:
    """What a DEVICE_NODE is called; empty where the kernel's symbols do not tell."""

    instance: str
    service: str


def node_text(nt: Nt, node: int) -> NodeText:
    try:
        view = nt.view("_DEVICE_NODE", node)
        return NodeText(nt.unicode(view.InstancePath), nt.unicode(view.ServiceName))
    except KdsimError:
        return NodeText("", "")


def pending_irps(nt: Nt, device: View) -> list[int]:
    """IRPs in a device's queue (KDEVICE_QUEUE_ENTRY in IRP.Tail)."""
    head = device.at("DeviceQueue.DeviceListHead")
    offset = nt.record("_IRP").offset("Tail.Overlay.DeviceQueueEntry")
    entry = nt.record("_KDEVICE_QUEUE_ENTRY").offset("DeviceListEntry")
    return [link - entry - offset for link in nt.list_addresses(head)]


def client_extensions(nt: Nt, driver: View) -> list[tuple[int, int]]:
    """(id, address) of what IoAllocateDriverObjectExtension allocated."""
    found: list[tuple[int, int]] = []
    if not driver.DriverExtension:
        return found
    extension = nt.view("_DRIVER_EXTENSION", driver.DriverExtension).ClientDriverExtension
    try:
        size = nt.record("_IO_CLIENT_EXTENSION").size
    except SymbolError:
        return found
    while extension and len(found) < STACK_LIMIT:
        view = nt.view("_IO_CLIENT_EXTENSION", extension)
        found.append((view.ClientIdentificationAddress, extension + size))
        extension = view.NextExtension
    return found


def fast_io_routines(nt: Nt, driver: View) -> Iterator[tuple[str, int]]:
    """Name and address of each routine of the FAST_IO_DISPATCH."""
    table = driver.FastIoDispatch
    if not table:
        return
    view = nt.view("_FAST_IO_DISPATCH", table).snapshot()
    for field in view.record.fields:
        if isinstance(field.type, Pointer) and view[field.name]:
            yield field.name, view[field.name]
