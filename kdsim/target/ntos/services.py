"""The machine services behind `int 0x81`: what hardware and firmware do for the kernel.

Numbers are `_KDSIM_SERVICE` of nt's PDB. Arguments come in RCX, RDX, R8 and R9, the result goes to
RAX. Only ring 0 reaches this table; the processor sees to that.
"""

from __future__ import annotations

from collections.abc import Callable

from kdsim.errors import FormatError, MemoryFault, TargetError
from kdsim.symbols.pe import PeImage
from kdsim.target.machine.machine import Machine
from kdsim.target.machine.paging import AddressSpace
from kdsim.target.machine.processor import SERVICE_VECTOR, Outcome, Processor
from kdsim.target.ntos.debugger_files import DebuggerFiles
from kdsim.target.ntos.images import ImageFiles
from kdsim.target.ntos.imports import map_bound, modules_on_list
from kdsim.target.ntos.kd import DebugStub
from kdsim.target.ntos.kernel import Kernel

STATUS_SUCCESS = 0
STATUS_INVALID_IMAGE_FORMAT = 0xC000_007B
STATUS_OBJECT_NAME_NOT_FOUND = 0xC000_0034
STATUS_ACCESS_VIOLATION = 0xC000_0005

_MAX_NAME = 260

Service = Callable[["MachineServices", Processor], int | Outcome]
"""Returns RAX, or an outcome when the result comes later or there is none."""

_TABLE: dict[str, Service] = {}


def service(name: str) -> Callable[[Service], Service]:
    """Declare the handler of one `_KDSIM_SERVICE`."""

    def declare(handler: Service) -> Service:
        _TABLE[name] = handler
        return handler

    return declare


class MachineServices:
    """The table, bound to one machine."""

    def __init__(
        self,
        machine: Machine,
        kernel: Kernel,
        memory: AddressSpace,
        files: ImageFiles,
        debugger_files: DebuggerFiles,
        stub: DebugStub,
        console: Callable[[str], None],
    ) -> None:
        self.machine = machine
        self.kernel = kernel
        self.memory = memory
        self.files = files
        self.debugger_files = debugger_files
        self.stub = stub
        self.console = console
        numbers = kernel.enum("_KDSIM_SERVICE")
        self._handlers = {numbers[name]: handler for name, handler in _TABLE.items()}

    def called(self, processor: Processor) -> Outcome:
        """`int 0x81` with the number in EAX."""
        number = processor.rax & 0xFFFF_FFFF
        handler = self._handlers.get(number)
        if handler is None:
            raise TargetError(f"machine service {number} does not exist (at {processor.rip:#x})")
        result = handler(self, processor)
        if isinstance(result, Outcome):
            return result
        processor.rax = result
        return Outcome.HANDLED

    def image(self, name: str) -> PeImage | None:
        """The file of the driver that is being loaded: the debugger's, or the disk's.

        The debugger's lies in the debug port between the two services that a load needs, so that a
        machine saved in between goes on with it.

        Raises:
            FormatError: the file is no PE image.
        """
        pulled = self.machine.port_memory
        return PeImage.from_file(pulled, name) if pulled else self.files.find(name)

    def text(self, va: int) -> str:
        """The NUL-terminated text at `va`."""
        return self.memory.read_prefix(va, _MAX_NAME).partition(b"\0")[0].decode("latin-1")


@service("ServiceSetClock")
def set_clock(services: MachineServices, processor: Processor) -> int:
    services.machine.set_clock(processor, processor.rcx)
    return 0


@service("ServiceQueryTime")
def query_time(services: MachineServices, processor: Processor) -> int:
    return services.machine.clock.now()


@service("ServiceSendIpi")
def send_ipi(services: MachineServices, processor: Processor) -> int:
    services.machine.send_ipi(processor.rcx)
    return 0


@service("ServiceStartProcessor")
def start_processor(services: MachineServices, processor: Processor) -> int:
    services.machine.start_processor(
        processor, processor.rcx, rip=processor.rdx, rsp=processor.r8, rcx=processor.r9
    )
    return 0


@service("ServicePower")
def power(services: MachineServices, processor: Processor) -> int:
    services.machine.power(restart=bool(processor.rcx))
    return 0


@service("ServiceQueryImage")
def query_image(services: MachineServices, processor: Processor) -> int:
    """RCX: file name, RDX: `_KDSIM_IMAGE_INFO` to fill. A debugger may have another file for it."""
    name = services.text(processor.rcx)
    try:
        services.machine.port_memory = services.debugger_files.driver(name) or b""
        image = services.image(name)
    except FormatError as error:
        services.machine.port_memory = b""
        services.console(str(error))
        return STATUS_INVALID_IMAGE_FORMAT
    if image is None:
        return STATUS_OBJECT_NAME_NOT_FOUND
    info = services.kernel.view("_KDSIM_IMAGE_INFO", processor.rdx)
    info.set("SizeOfImage", image.size_of_image)
    info.set("TimeDateStamp", image.timestamp)
    info.set("CheckSum", image.checksum)
    info.set("EntryRva", image.entry_rva)
    return STATUS_SUCCESS


@service("ServiceMapImage")
def map_image_file(services: MachineServices, processor: Processor) -> int:
    """RCX: file name, RDX: base, R8: head of the list of loaded modules."""
    name, base = services.text(processor.rcx), processor.rdx
    try:
        image = services.image(name)
        if image is None:
            return STATUS_OBJECT_NAME_NOT_FOUND
        exports_of = modules_on_list(services.kernel, services.memory, processor.r8)
        map_bound(services.memory, base, image, exports_of, services.kernel, services.console)
    except FormatError as error:
        services.console(str(error))
        return STATUS_INVALID_IMAGE_FORMAT
    except MemoryFault as fault:
        services.console(f"{name}: {fault}")
        return STATUS_ACCESS_VIOLATION
    finally:
        services.machine.port_memory = b""
    services.machine.flush_tlb()
    return STATUS_SUCCESS


@service("ServiceReportException")
def report_exception(services: MachineServices, processor: Processor) -> int | Outcome:
    """RCX: EXCEPTION_RECORD, RDX: CONTEXT, R8: first chance. 1 when the debugger handled it."""
    outcome = services.stub.trapped(processor, SERVICE_VECTOR)
    return 0 if outcome is Outcome.DECLINED else outcome
