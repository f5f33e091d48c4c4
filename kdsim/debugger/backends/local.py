"""Local kernel debugging (`kd -kl`): a machine that runs here and goes on running."""

from __future__ import annotations

from kdsim.debugger.backends.base import Caps, Event, TargetVersion
from kdsim.debugger.backends.passive import PassiveBackend
from kdsim.errors import TargetGone
from kdsim.wire.local import DATA_LIMIT, LocalClient, connect_local
from kdsim.wire.manipulate import Api, Manipulate
from kdsim.wire.requests import ADDRESS_MASK, Requests

_WHY = "in a local session, because the machine we look at keeps running"
_REFUSALS = {
    Caps.REGISTERS: f"Registers and stacks are not available {_WHY}.",
    Caps.RUN: f"Execution control is not available {_WHY}.",
    Caps.BREAKPOINTS: f"Breakpoints are not available {_WHY}.",
    Caps.MSR: f"Model-specific registers are not available {_WHY}.",
    Caps.IO: f"I/O ports are not available {_WHY}.",
}


class LocalBackend(PassiveBackend):
    """Implements `kdsim.debugger.backends.base.Backend` for memory alone.

    Args:
        machine: its name; None means the only one that runs.
    """

    def __init__(self, machine: str | None = None) -> None:
        self.caps = Caps.READ | Caps.WRITE | Caps.PHYSICAL
        self.refusals = dict(_REFUSALS)
        self.description = "local" if machine is None else f"local:{machine}"
        self._machine = machine
        self._client: LocalClient | None = None
        self._requests = Requests(self._ask, DATA_LIMIT, DATA_LIMIT)

    def connect(self, timeout: float | None) -> None:
        """Find the machine. It runs or it does not: nothing is waited for."""
        self._client = connect_local(self._machine)
        self.description = f"local:{self._client.name}"

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def banner(self) -> list[str]:
        return []

    def version(self) -> TargetVersion:
        answer = self._requests.version()
        return TargetVersion(
            major=answer.major,
            minor=answer.minor,
            protocol=answer.protocol,
            flags=answer.flags,
            machine=answer.machine,
            kernel_base=answer.kernel_base,
            module_list=answer.module_list,
            data_list=answer.data_list,
        )

    def read_virtual(self, va: int, size: int) -> bytes:
        return self._requests.read(Api.READ_VIRTUAL, va & ADDRESS_MASK, size)

    def write_virtual(self, va: int, data: bytes) -> int:
        return self._requests.write(Api.WRITE_VIRTUAL, va & ADDRESS_MASK, data)

    def read_physical(self, pa: int, size: int) -> bytes:
        return self._requests.read(Api.READ_PHYSICAL, pa & ADDRESS_MASK, size)

    def write_physical(self, pa: int, data: bytes) -> int:
        return self._requests.write(Api.WRITE_PHYSICAL, pa & ADDRESS_MASK, data)

    def search_virtual(self, va: int, size: int, pattern: bytes) -> int:
        return self._requests.search(va, size, pattern)

    def read_control_space(self, processor: int, selector: int, size: int) -> bytes:
        """What the machine tells of a processor that runs; it may refuse."""
        return self._requests.control_space(processor, selector, size)

    def wait(self, timeout: float | None) -> Event | None:
        """A machine that is only looked at has no events."""
        return None

    def switch_processor(self, number: int) -> None:
        self._refuse(Caps.REGISTERS)

    def read_context(self, processor: int) -> bytes:
        self._refuse(Caps.REGISTERS)

    def _ask(self, message: Manipulate) -> Manipulate:
        if self._client is None:
            raise TargetGone("the local session is not connected")
        return self._client.request(message)
