"""Booted machines for the tests, and a debugger that is a list of requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from kdsim.target.lab import Lab, find_lab
from kdsim.target.machine.machine import Reason
from kdsim.target.system import System
from kdsim.wire.context import Context
from kdsim.wire.manipulate import Api, Continue2Arguments, Manipulate, MemoryArguments
from kdsim.wire.messages import AnyStateChange, FileIo, GetString
from kdsim.wire.target_connection import Request


class OutOfRequests(Exception):
    """The script is over; the machine is still held."""


class Script:
    """Stands where a TargetConnection stands: asks what the test wants asked, keeps what comes."""

    data_limit = 0x1000

    def __init__(self, present: bool = True) -> None:
        self.present = present
        self.requests: list[Request] = []
        self.reports: list[AnyStateChange] = []
        self.replies: list[Manipulate] = []
        self.prints: list[tuple[str, int]] = []
        self.questions: list[GetString] = []
        self.answer: bytes | None = None
        self.files: Callable[[FileIo], FileIo] | None = None

    def poll(self):
        return None

    def report(self, change: AnyStateChange) -> None:
        self.reports.append(change)

    def wait(self, timeout=None):
        if not self.requests:
            raise OutOfRequests
        return self.requests.pop(0)

    def reply(self, message: Manipulate) -> None:
        self.replies.append(message)

    def print(self, text: bytes, processor: int = 0, level: int = 0) -> bool:
        self.prints.append((text.decode("latin-1"), processor))
        return self.present

    def file(self, request: FileIo) -> FileIo | None:
        return self.files(request) if self.files is not None else None

    def prompt(self, question: GetString) -> bytes | None:
        self.questions.append(question)
        return self.answer


class Debugged:
    """A system under a scripted debugger."""

    def __init__(self, lab: Lab | None = None, *, break_at_boot: bool = True, present=True) -> None:
        self.script = Script(present)
        self.lines: list[str] = []
        self.system = System.power_on(
            lab or find_lab("lab"), self.script, self.lines.append, break_at_boot=break_at_boot
        )

    @classmethod
    def loaded(cls, path: Path) -> Debugged:
        """The machine saved there."""
        debugged = cls.__new__(cls)
        debugged.script, debugged.lines = Script(), []
        debugged.system = System.resume(
            path, find_lab("lab"), debugged.script, debugged.lines.append
        )
        return debugged

    @property
    def kernel(self):
        return self.system.kernel

    @property
    def stub(self):
        return self.system.stub

    def run_to_stop(self) -> AnyStateChange:
        """Run until the debugger is told something; that."""
        stop = self.system.machine.run(until=self.system.machine.clock.now() + 100 * 10_000_000)
        assert stop.reason is Reason.DEBUG, stop
        self.ask()
        return self.script.reports[-1]

    def ask(self, *requests: Manipulate) -> list[Manipulate]:
        """Put requests to the stopped target; its replies."""
        self.script.requests += [Request(request) for request in requests]
        before = len(self.script.replies)
        try:
            self.stub.hold()
        except OutOfRequests:
            return self.script.replies[before:]
        return self.script.replies[before:]

    def one(self, api: Api, arguments=None, data: bytes = b"", processor: int = 0) -> Manipulate:
        """The reply to one request."""
        request = Manipulate.request(api, arguments, data, processor=processor)
        (reply,) = self.ask(request)
        return reply

    def read(self, va: int, size: int) -> bytes:
        return self.one(Api.READ_VIRTUAL, MemoryArguments(va, size)).data

    def set_registers(self, **values: int) -> None:
        """Give the stopped processor other registers."""
        number = self.script.reports[-1].processor
        get = Manipulate.request(Api.GET_CONTEXT, processor=number)
        context = Context(self.ask(get)[0].data)
        for name, value in values.items():
            context.set(name, value)
        # A context can only be set after it was asked for since the last report.
        self.ask(get, Manipulate.request(Api.SET_CONTEXT, None, context.raw, processor=number))

    @property
    def debug_service(self) -> int:
        """Where DebugService2 executes `int 2Dh`."""
        routine = self.kernel.address("DebugService2")
        return routine + self.read(routine, 32).index(b"\xcd\x2d\xcc")

    def go(self, *, trace: bool = False, status: int = 0x10002, dr7: int = 0x400) -> None:
        """Continue; the machine is free afterwards."""
        arguments = Continue2Arguments(status, int(trace), dr7)
        assert self.ask(Manipulate.request(Api.CONTINUE2, arguments)) == []
        assert self.stub.stop is None

    def jump(self, **registers: int) -> None:
        """Go on with other registers."""
        self.set_registers(**registers)
        self.go()

    def step_off(self) -> None:
        """Go past the hard-coded int 3 and on."""
        self.jump(rip=self.script.reports[-1].pc + 1)


def small_lab(**changes) -> Lab:
    """The shipped lab with other values."""
    return find_lab("lab")._replace(**changes)


def names(items: Iterable) -> list[str]:
    return [item.name for item in items]
