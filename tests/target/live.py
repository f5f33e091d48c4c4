"""A target in a process of its own, under a raw connection: what tests of the wire stand on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from kdsim.target.ntos.kernel import Kernel
from kdsim.wire.context import SPECIAL_REGISTERS_SIZE, Context
from kdsim.wire.host_connection import HostConnection
from kdsim.wire.manipulate import Api, Continue2Arguments, Manipulate, VersionArguments
from kdsim.wire.manipulate import MemoryArguments as Bytes
from kdsim.wire.messages import AnyStateChange, ExceptionChange, GetString, PrintString, StateChange
from kdsim.wire.requests import Requests
from kdsim.wire.transport import open_host, parse_transport
from tests.target.process import TargetProcess

SECONDS = 60.0
LIMIT = 4000 - 56
"""Data bytes of a reply on a stream."""
PCR, PRCB, SPECIAL, THREAD = range(4)
"""Selectors of control space."""


class Live:
    """A stopped target in another process, and what the rows name. Readers take it for memory."""

    def __init__(self, connection: HostConnection) -> None:
        self.connection = connection
        self.stop = self.stopped()
        """Where it stands."""
        version = self.ask(Api.GET_VERSION).arguments(VersionArguments)
        self.version = version
        self.kernel = version.kernel_base
        self.nt = Kernel.find(self, self.kernel)
        self.code = self.nt.address("KeBugCheckEx")
        self.data = version.module_list
        self.scratch = self.context().get("rsp") - 0x400 & -16
        """Below the stack: free while the target stands."""

    def says(self, *kinds: type) -> AnyStateChange | PrintString | GetString:
        """The next message of one of these kinds; prints and notices on the way are passed."""
        while True:
            event = self.connection.wait(SECONDS)
            assert event is not None, "the target is silent"
            if isinstance(event, kinds):
                return event
            if not isinstance(event, PrintString):
                self.go()

    def stopped(self) -> ExceptionChange:
        """The next exception it reports."""
        self.stop = self.says(ExceptionChange)
        return self.stop

    def go(self, *, trace: bool = False, dr7: int = 0x400) -> None:
        self.post(Api.CONTINUE2, Continue2Arguments(0x10002, int(trace), dr7))

    def post(self, api: Api, arguments=None, processor=0) -> None:
        # A break-in that met the stop made the target repeat it.
        self.connection.discard(StateChange)
        self.connection.post(self.request(api, arguments, processor=processor))

    def set_context(self, processor: int | None = None, **registers: int) -> None:
        number = self.stop.processor if processor is None else processor
        context = self.context(number)
        for name, value in registers.items():
            context.set(name, value)
        assert self.ask(Api.SET_CONTEXT, None, context.raw, number).succeeded

    def step_off(self) -> None:
        """Past the int 3 of the initial break."""
        self.set_context(rip=self.stop.pc + 1)

    def request(self, api: Api, arguments=None, data=b"", processor=0) -> Manipulate:
        return Manipulate.request(api, arguments, data, processor=processor)

    def ask(self, api: Api, arguments=None, data=b"", processor=0) -> Manipulate:
        return self.connection.request(self.request(api, arguments, data, processor))

    def read(self, va: int, size: int) -> bytes:
        return Requests(self.connection.request, LIMIT, LIMIT).read(Api.READ_VIRTUAL, va, size)

    def write(self, va: int, data: bytes) -> None:
        assert self.ask(Api.WRITE_VIRTUAL, Bytes(va, len(data)), data).succeeded

    def u64(self, address: int) -> int:
        return int.from_bytes(self.read(address, 8), "little")

    def context(self, processor: int | None = None) -> Context:
        number = self.stop.processor if processor is None else processor
        return Context(self.ask(Api.GET_CONTEXT, processor=number).data)

    def special(self, processor: int = 0) -> bytes:
        wanted = Bytes(SPECIAL, SPECIAL_REGISTERS_SIZE)
        return self.ask(Api.READ_CONTROL_SPACE, wanted, processor=processor).data

    def space(self, selector: int, processor: int = 0) -> int:
        data = self.ask(Api.READ_CONTROL_SPACE, Bytes(selector, 8), processor=processor).data
        return int.from_bytes(data, "little")


@contextmanager
def attached(folder: Path, *, processors: int = 2, lab: str = "lab") -> Iterator[Live]:
    """A machine at its initial break."""
    folder.chmod(0o700)
    path = folder / "kd"
    way = ("--wait", "--seed", "1", "--cpus", str(processors), "--com", f"unix:{path}")
    with TargetProcess(folder, lab, *way) as target:
        target.banner()
        connection = open_host(parse_transport(f"com:pipe,port={path}"))
        with closing(connection):
            connection.open(SECONDS)
            connection.break_in()
            yield Live(connection)
