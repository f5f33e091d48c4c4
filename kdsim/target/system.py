"""A whole target: machine, kernel, debug stub and services, wired together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kdsim.errors import MemoryFault, TargetError
from kdsim.target.boot import boot
from kdsim.target.lab import Lab
from kdsim.target.machine.clock import Clock
from kdsim.target.machine.machine import Machine, Reason, Stop
from kdsim.target.machine.paging import AddressSpace
from kdsim.target.ntos.debugger_files import DebuggerFiles
from kdsim.target.ntos.images import ImageFiles
from kdsim.target.ntos.kd import DebugStub, PowerRequest
from kdsim.target.ntos.kernel import Kernel, handler_of
from kdsim.target.ntos.requests import Debuggee, answer
from kdsim.target.ntos.services import MachineServices
from kdsim.wire.endpoint import BreakIn
from kdsim.wire.manipulate import Manipulate
from kdsim.wire.target_connection import TargetConnection

Console = Callable[[str], None]


class System:
    """Made by `power_on` or `resume`.

    Attributes:
        machine: RAM, processors and clock; all there is to know lies in them.
        kernel: nt, read from the machine's bytes.
        memory: kernel address space.
        stub: the debug port's owner; its `stop` says whether a debugger holds the machine.
    """

    def __init__(
        self,
        machine: Machine,
        kernel: Kernel,
        memory: AddressSpace,
        files: ImageFiles,
        connection: TargetConnection,
        console: Console,
    ) -> None:
        self.machine = machine
        self.kernel = kernel
        self.memory = memory
        self.connection = connection
        self.stub = DebugStub(machine, kernel, memory, connection, console)
        services = MachineServices(
            machine, kernel, memory, files, DebuggerFiles(connection), self.stub, console
        )
        machine.attach(services.called, self.stub.trapped)

    @classmethod
    def power_on(
        cls,
        lab: Lab,
        connection: TargetConnection,
        console: Console,
        *,
        clock: Clock | None = None,
        break_at_boot: bool = True,
    ) -> System:
        """A new machine that stands at the kernel's first instruction."""
        machine = Machine(lab.ram, lab.processors, clock)
        files = ImageFiles(lab.images)
        kernel, memory = boot(machine, lab, files, break_at_boot=break_at_boot, console=console)
        return cls(machine, kernel, memory, files, connection, console)

    @classmethod
    def resume(cls, path: Path, lab: Lab, connection: TargetConnection, console: Console) -> System:
        """The machine that `Machine.save` wrote; `lab` only says where image files are."""
        machine = Machine.load(path)
        cpu = machine.processors[0]
        memory = machine.address_space(cpu.cr3)
        # Before the kernel has an interrupt table its processor runs nothing but the kernel.
        inside = handler_of(memory, cpu.idt_base, 0) if cpu.idt_base else cpu.rip
        kernel = Kernel.find(memory, inside)
        return cls(machine, kernel, memory, ImageFiles(lab.images), connection, console)

    def run(self, until: int | None = None) -> Stop:
        """Let the debugger have its say if it holds the machine, then run to the next stop.

        `until` is a machine time in 100 ns.
        """
        if self.stub.stop is not None:
            try:
                self.stub.hold()
            except (MemoryFault, TargetError) as error:
                return Stop(Reason.ERROR, self.machine.turn, str(error))
        if self.stub.power is PowerRequest.RESTART:
            return Stop(Reason.RESTART)
        return self.machine.run(until)

    def poll(self) -> None:
        """Look at the connection; a break-in stops the machine soon."""
        while (event := self.connection.poll()) is not None:
            if isinstance(event, BreakIn):
                self.stub.break_in()

    def answer_locally(self, request: Manipulate, limit: int) -> Manipulate:
        """A request of local debugging: memory and the kernel's own data, running or not."""
        return answer(Debuggee(self.machine, self.kernel, self.memory, limit), request)

    def close(self) -> None:
        self.machine.close()
