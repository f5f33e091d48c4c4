"""I/O request packets, and the pool they lie in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import ArgumentError, MemoryFault
from kdsim.symbols.views import View

IO_TYPE_IRP = 6
TAG_PATTERN = "Irp?"
MOST_STACKS = 127

# wdm.h, IO_STACK_LOCATION.Control.
CONTROL_WORDS = ((0x40, "Success"), (0x80, "Error"), (0x20, "Cancel"), (0x01, "pending"))

# wdm.h, IRP_MJ_*, in order.
MAJOR_FUNCTIONS = (
    "IRP_MJ_CREATE",
    "IRP_MJ_CREATE_NAMED_PIPE",
    "IRP_MJ_CLOSE",
    "IRP_MJ_READ",
    "IRP_MJ_WRITE",
    "IRP_MJ_QUERY_INFORMATION",
    "IRP_MJ_SET_INFORMATION",
    "IRP_MJ_QUERY_EA",
    "IRP_MJ_SET_EA",
    "IRP_MJ_FLUSH_BUFFERS",
    "IRP_MJ_QUERY_VOLUME_INFORMATION",
    "IRP_MJ_SET_VOLUME_INFORMATION",
    "IRP_MJ_DIRECTORY_CONTROL",
    "IRP_MJ_FILE_SYSTEM_CONTROL",
    "IRP_MJ_DEVICE_CONTROL",
    "IRP_MJ_INTERNAL_DEVICE_CONTROL",
    "IRP_MJ_SHUTDOWN",
    "IRP_MJ_LOCK_CONTROL",
    "IRP_MJ_CLEANUP",
    "IRP_MJ_CREATE_MAILSLOT",
    "IRP_MJ_QUERY_SECURITY",
    "IRP_MJ_SET_SECURITY",
    "IRP_MJ_POWER",
    "IRP_MJ_SYSTEM_CONTROL",
    "IRP_MJ_DEVICE_CHANGE",
    "IRP_MJ_QUERY_QUOTA",
    "IRP_MJ_SET_QUOTA",
    "IRP_MJ_PNP",
)
POWER, SYSTEM_CONTROL, PNP = 0x16, 0x17, 0x1B
# wdm.h, IRP_MN_*, of the major functions that have minor ones of their own.
MINOR_FUNCTIONS: dict[int, tuple[str, ...]] = {
    POWER: (
        "IRP_MN_WAIT_WAKE",
        "IRP_MN_POWER_SEQUENCE",
        "IRP_MN_SET_POWER",
        "IRP_MN_QUERY_POWER",
    ),
    SYSTEM_CONTROL: (
        "IRP_MN_QUERY_ALL_DATA",
        "IRP_MN_QUERY_SINGLE_INSTANCE",
        "IRP_MN_CHANGE_SINGLE_INSTANCE",
        "IRP_MN_CHANGE_SINGLE_ITEM",
        "IRP_MN_ENABLE_EVENTS",
        "IRP_MN_DISABLE_EVENTS",
        "IRP_MN_ENABLE_COLLECTION",
        "IRP_MN_DISABLE_COLLECTION",
        "IRP_MN_REGINFO",
        "IRP_MN_EXECUTE_METHOD",
    ),
    PNP: (
        "IRP_MN_START_DEVICE",
        "IRP_MN_QUERY_REMOVE_DEVICE",
        "IRP_MN_REMOVE_DEVICE",
        "IRP_MN_CANCEL_REMOVE_DEVICE",
        "IRP_MN_STOP_DEVICE",
        "IRP_MN_QUERY_STOP_DEVICE",
        "IRP_MN_CANCEL_STOP_DEVICE",
        "IRP_MN_QUERY_DEVICE_RELATIONS",
        "IRP_MN_QUERY_INTERFACE",
        "IRP_MN_QUERY_CAPABILITIES",
        "IRP_MN_QUERY_RESOURCES",
        "IRP_MN_QUERY_RESOURCE_REQUIREMENTS",
        "IRP_MN_QUERY_DEVICE_TEXT",
        "IRP_MN_FILTER_RESOURCE_REQUIREMENTS",
    ),
}


def major_name(major: int) -> str:
    return MAJOR_FUNCTIONS[major] if major < len(MAJOR_FUNCTIONS) else "N/A"


def minor_name(major: int, minor: int) -> str:
    names = MINOR_FUNCTIONS.get(major, ())
    return names[minor] if minor < len(names) else "N/A"


@dataclass(frozen=True, slots=True)
class StackLocation:
    """One IO_STACK_LOCATION.

    Attributes:
        arguments: Parameters.Others.
        routine: the completion routine, which the driver one location higher set.
        used: some driver has filled it.
    """

    address: int
    major: int
    minor: int
    flags: int
    control: int
    arguments: tuple[int, int, int, int]
    device: int
    file: int
    routine: int
    context: int

    @property
    def used(self) -> bool:
        return bool(self.device or self.major or self.control or any(self.arguments))

    @property
    def control_words(self) -> str:
        """Each has its place, so that what is not set leaves a blank."""
        return " ".join(word if self.control & bit else "" for bit, word in CONTROL_WORDS)


@dataclass(frozen=True, slots=True)
class Irp:
    """One IRP and its stack, lowest driver first."""

    address: int
    mdl: int
    system_buffer: int
    thread: int
    event: int
    stack_count: int
    current_location: int
    current: int
    stack: tuple[StackLocation, ...]

    @property
    def complete(self) -> bool:
        return self.current_location > self.stack_count

    @property
    def current_stack(self) -> StackLocation | None:
        index = self.current_location - 1
        return self.stack[index] if 0 <= index < len(self.stack) else None


def irp_at(nt: Nt, address: int) -> Irp:
    """ArgumentError when what lies there is no IRP."""
    view = nt.view("_IRP", address)
    if view.Type != IO_TYPE_IRP:
        raise ArgumentError("IRP signature does not match, probably not an IRP")
    return _irp(nt, view.snapshot())


def _irp(nt: Nt, view: View) -> Irp:
    layout = nt.record("_IO_STACK_LOCATION")
    first = view.address + nt.record("_IRP").size
    count = view.StackCount
    if not 0 <= count <= MOST_STACKS:
        raise ArgumentError(f"{view.address:016x}: a stack of {count} locations is no IRP's")
    return Irp(
        address=view.address,
        mdl=view.MdlAddress,
        system_buffer=view["AssociatedIrp.SystemBuffer"],
        thread=view["Tail.Overlay.Thread"],
        event=view.UserEvent,
        stack_count=count,
        current_location=view.CurrentLocation,
        current=view["Tail.Overlay.CurrentStackLocation"],
        stack=tuple(
            _location(nt.view("_IO_STACK_LOCATION", first + index * layout.size).snapshot())
            for index in range(count)
        ),
    )


def _location(view: View) -> StackLocation:
    others = view["Parameters.Others"]
    return StackLocation(
        address=view.address,
        major=view.MajorFunction,
        minor=view.MinorFunction,
        flags=view.Flags,
        control=view.Control,
        arguments=(others.Argument1, others.Argument2, others.Argument3, others.Argument4),
        device=view.DeviceObject,
        file=view.FileObject,
        routine=view.CompletionRoutine,
        context=view.Context,
    )


def in_block(nt: Nt, start: int, size: int) -> Irp | None:
    """The IRP in a pool block, None when there is none (the tag is used for other things too)."""
    if size < nt.record("_IRP").size:
        return None
    try:
        view = nt.view("_IRP", start).snapshot()
        if view.Type != IO_TYPE_IRP or view.Size > size:
            return None
        return _irp(nt, view)
    except (ArgumentError, MemoryFault):
        return None


def matches(nt: Nt, irp: Irp, criterion: str, data: int) -> bool:
    """`!irpfind`'s criteria."""
    if criterion == "arg":
        return any(data in location.arguments for location in irp.stack)
    if criterion == "device":
        return any(location.device == data for location in irp.stack)
    if criterion == "fileobject":
        return any(location.file == data for location in irp.stack)
    if criterion == "mdlprocess":
        return bool(irp.mdl) and nt.view("_MDL", irp.mdl).Process == data
    if criterion == "thread":
        return irp.thread == data
    return irp.event == data


CRITERIA = ("arg", "device", "fileobject", "mdlprocess", "thread", "userevent")


def all_fields(nt: Nt, address: int) -> Iterator[tuple[str, int, int]]:
    """Name, value and least number of digits of the fields that a detailed display shows."""
    view = nt.view("_IRP", address).snapshot()
    overlay = view.at("Tail.Overlay.DeviceQueueEntry")
    yield "Flags", view.Flags, 8
    yield "ThreadListEntry.Flink", view.ThreadListEntry.Flink, 8
    yield "ThreadListEntry.Blink", view.ThreadListEntry.Blink, 8
    yield "IoStatus.Status", view.IoStatus.Status & 0xFFFFFFFF, 8
    yield "IoStatus.Information", view.IoStatus.Information, 8
    yield "RequestorMode", view.RequestorMode & 0xFF, 8
    yield "Cancel", view.Cancel, 2
    yield "CancelIrql", view.CancelIrql, 1
    yield "ApcEnvironment", view.ApcEnvironment & 0xFF, 2
    for name in ("UserIosb", "UserEvent"):
        yield name, view[name], 8
    for name in ("UserApcRoutine", "UserApcContext"):
        path = f"Overlay.AsynchronousParameters.{name}"
        yield path, view[path], 8
    for name in ("CancelRoutine", "UserBuffer"):
        yield name, view[name], 8
    yield "&Tail.Overlay.DeviceQueueEntry", overlay, 8
    for name in (
        "Tail.Overlay.Thread",
        "Tail.Overlay.AuxiliaryBuffer",
        "Tail.Overlay.ListEntry.Flink",
        "Tail.Overlay.ListEntry.Blink",
        "Tail.Overlay.CurrentStackLocation",
        "Tail.Overlay.OriginalFileObject",
        "Tail.CompletionKey",
    ):
        yield name, view[name], 8
