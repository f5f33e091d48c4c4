r"""Objects, drivers, devices: `!object`, `!drvobj`, `!devobj`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.inspect import objects
from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import ArgumentError, KdsimError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

HEADER, CONTENTS, FULL_PATH = 0x1, 0x8, 0x20
OBJECT_DEFAULT = HEADER | CONTENTS
DEVICES, DISPATCH = 0x1, 0x2

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

# wdm.h, DO_*.
DEVICE_FLAGS = {
    0x4: "DO_BUFFERED_IO",
    0x8: "DO_EXCLUSIVE",
    0x10: "DO_DIRECT_IO",
    0x20: "DO_MAP_IO_BUFFER",
    0x40: "DO_DEVICE_HAS_NAME",
    0x80: "DO_DEVICE_INITIALIZING",
    0x800: "DO_SHUTDOWN_REGISTERED",
    0x1000: "DO_BUS_ENUMERATED_DEVICE",
    0x2000: "DO_POWER_PAGABLE",
}


@dataclass(frozen=True, slots=True)
class ObjectReport:
    """One object: its header facts and, for a directory or link, what it holds."""

    info: objects.ObjectInfo
    path: str
    flags: int
    entries: tuple[objects.DirectoryEntry, ...] = ()
    target: str | None = None

    def lines(self) -> Iterator[str]:
        info = self.info
        yield f"Object: {info.address:016x}  Type: ({info.type_address:016x}) {info.type_name}"
        if self.flags & HEADER:
            yield f"    ObjectHeader: {info.header:016x} (new version)"
            yield f"    HandleCount: {info.handles}  PointerCount: {info.pointers}"
            if info.name:
                yield f"    Directory Object: {info.directory:016x}  Name: {self.path}"
        if self.target is not None:
            yield f"    Target String is '{self.target}'"
        if not self.entries:
            return
        yield ""
        yield "    Hash Address          Type                      Name"
        yield "    ---- -------          ----                      ----"
        bucket = -1
        for entry in self.entries:
            mark = f"{entry.bucket:02}" if entry.bucket != bucket else "  "
            bucket = entry.bucket
            found = entry.entry
            yield f"     {mark}  {found.address:016x} {found.type_name:25} {found.name}"


@command(
    "!object",
    summary="An object's header, name and contents.",
    group="objects",
    params=(
        Param("object", "expression", "address, or a path such as \\Driver", optional=True),
        Param("flags", "flags", "1 header, 8 contents, 20 full path", optional=True),
    ),
    needs=Caps.READ,
    see_also=("!drvobj", "!devobj"),
)
def show_object(session: Session, args: Arguments, name: str) -> ObjectReport:
    """Reads the OBJECT_HEADER; walks directories from nt!ObpRootDirectoryObject."""
    nt = Nt(session.symbols, session.memory)
    if args.done:
        raise ArgumentError("!object needs an address or a path such as \\Driver")
    if args.peek().startswith("\\"):
        path = args.word() or ""
        info = objects.lookup(nt, path)
        if info is None:
            raise ArgumentError(f"Object {path} not found")
    else:
        info = objects.object_at(nt, args.expression())
    flags = args.optional_expression()
    args.at_end()
    return _object_report(nt, info, OBJECT_DEFAULT if flags is None else flags)


def _object_report(nt: Nt, info: objects.ObjectInfo, flags: int) -> ObjectReport:
    path = objects.full_name(nt, info) if flags & FULL_PATH else info.name
    entries: tuple[objects.DirectoryEntry, ...] = ()
    target = None
    if flags & CONTENTS and info.type_name == "Directory":
        entries = tuple(objects.directory_entries(nt, info.address))
    elif flags & CONTENTS and info.type_name == "SymbolicLink":
        target = nt.unicode(nt.view("_OBJECT_SYMBOLIC_LINK", info.address).LinkTarget)
    return ObjectReport(info, path, flags, entries, target)


def _object_argument(nt: Nt, args: Arguments, directory: str, kind: str) -> int:
    r"""A name (`leaky` means `\Driver\leaky`), a path or an address -> the object's address.

    Names go first, as in kd: a driver may be called `add`.
    """
    if args.done:
        raise ArgumentError(f"a {kind} object's name or address is needed")
    start = args.position
    text = args.word() or ""
    path = text if text.startswith("\\") else f"\\{directory}\\{text}"
    found = objects.lookup(nt, path)
    if found is not None:
        return found.address
    args.position = start
    try:
        address = args.expression()
        info = objects.object_at(nt, address)
    except KdsimError as error:
        raise ArgumentError(f"{text} is neither a {kind} object's name nor its address") from error
    if info.type_name.lower() != kind:
        raise ArgumentError(f"{address:016x} is a {info.type_name} object, not a {kind} object")
    return address


@dataclass(frozen=True, slots=True)
class DriverReport:
    """A driver object."""

    address: int
    name: str
    devices: tuple[int, ...]
    flags: int
    routines: tuple[tuple[str, int, str], ...]
    dispatch: tuple[tuple[int, str], ...]

    def lines(self) -> Iterator[str]:
        yield f"Driver object ({self.address:016x}) is for:"
        yield f" {self.name}"
        yield ""
        yield "Driver Extension List: (id , addr)"
        yield ""
        if self.flags & DEVICES:
            yield "Device Object list:"
            for start in range(0, len(self.devices), 4):
                yield "  ".join(f"{d:016x}" for d in self.devices[start : start + 4])
            yield ""
        if not self.flags & DISPATCH:
            return
        for label, address, symbol in self.routines:
            yield f"{label + ':':14} {address:016x}\t{symbol}"
        yield ""
        yield "Dispatch routines:"
        for number, (address, symbol) in enumerate(self.dispatch):
            yield f"[{number:02x}] {MAJOR_FUNCTIONS[number]:34} {address:016x}\t{symbol}"


@command(
    "!drvobj",
    summary="A driver object: devices, entry points.",
    group="objects",
    params=(
        Param("driver", "text", "name (leaky), path or address"),
        Param("flags", "flags", "1 devices, 2 dispatch table", optional=True),
    ),
    needs=Caps.READ,
    see_also=("!devobj", "!object"),
)
def show_driver(session: Session, args: Arguments, name: str) -> DriverReport:
    """Reads the DRIVER_OBJECT and its device chain."""
    nt = Nt(session.symbols, session.memory)
    address = _object_argument(nt, args, "Driver", "driver")
    flags = args.optional_expression()
    args.at_end()
    driver = nt.view("_DRIVER_OBJECT", address)
    extension = driver.DriverExtension
    add_device = nt.view("_DRIVER_EXTENSION", extension).AddDevice if extension else 0
    routines = (
        ("DriverEntry", driver.DriverInit),
        ("DriverStartIo", driver.DriverStartIo),
        ("DriverUnload", driver.DriverUnload),
        ("AddDevice", add_device),
    )
    major = [driver.MajorFunction[index] for index in range(len(MAJOR_FUNCTIONS))]
    return DriverReport(
        address=address,
        name=nt.unicode(driver.DriverName),
        devices=tuple(objects.devices_of(nt, driver)),
        flags=DEVICES if flags is None else flags,
        routines=tuple((label, va, _symbol(session, va)) for label, va in routines),
        dispatch=tuple((va, _symbol(session, va)) for va in major),
    )


def _symbol(session: Session, va: int) -> str:
    return session.symbols.format(va) if va else ""


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """A device object."""

    address: int
    name: str
    driver: int
    driver_name: str
    irp: int
    references: int
    kind: int
    flags: int
    extension: int
    object_extension: int
    node: int
    upper: int
    upper_driver: str
    lower: int
    lower_driver: str
    busy: bool

    def lines(self) -> Iterator[str]:
        yield f"Device object ({self.address:016x}) is for:"
        yield f" {self.name} {self.driver_name} DriverObject {self.driver:016x}"
        yield (
            f"Current Irp {self.irp:08x} RefCount {self.references} Type {self.kind:08x}"
            f" Flags {self.flags:08x}"
        )
        yield (
            f"DevExt {self.extension:016x} DevObjExt {self.object_extension:016x}"
            f" DevNode {self.node:016x}"
        )
        words = [name for bit, name in DEVICE_FLAGS.items() if self.flags & bit]
        yield f"DeviceFlags (0x{self.flags:08x})  {', '.join(words)}"
        if self.upper:
            yield f"AttachedDevice (Upper) {self.upper:016x} {self.upper_driver}"
        if self.lower:
            yield f"AttachedTo (Lower) {self.lower:016x} {self.lower_driver}"
        yield "Device queue is busy." if self.busy else "Device queue is not busy."


@command(
    "!devobj",
    summary="A device object.",
    group="objects",
    params=(Param("device", "text", "name (Leaky), path or address"),),
    needs=Caps.READ,
    see_also=("!drvobj", "!object"),
)
def show_device(session: Session, args: Arguments, name: str) -> DeviceReport:
    """Reads the DEVICE_OBJECT and its DEVOBJ_EXTENSION."""
    nt = Nt(session.symbols, session.memory)
    address = _object_argument(nt, args, "Device", "device")
    args.at_end()
    device = nt.view("_DEVICE_OBJECT", address)
    extension = device.DeviceObjectExtension
    node = lower = 0
    if extension:
        view = nt.view("_DEVOBJ_EXTENSION", extension)
        node, lower = view.DeviceNode, view.AttachedTo
    return DeviceReport(
        address=address,
        name=objects.object_at(nt, address).name,
        driver=device.DriverObject,
        driver_name=_driver_name(nt, address),
        irp=device.CurrentIrp,
        references=device.ReferenceCount,
        kind=device.DeviceType,
        flags=device.Flags,
        extension=device.DeviceExtension,
        object_extension=extension,
        node=node,
        upper=device.AttachedDevice,
        upper_driver=_driver_name(nt, device.AttachedDevice),
        lower=lower,
        lower_driver=_driver_name(nt, lower),
        busy=bool(device.DeviceQueue.Busy),
    )


def _driver_name(nt: Nt, device: int) -> str:
    """Name of the driver behind a device, empty for no device."""
    if not device:
        return ""
    driver = nt.view("_DEVICE_OBJECT", device).DriverObject
    return nt.unicode(nt.view("_DRIVER_OBJECT", driver).DriverName)
