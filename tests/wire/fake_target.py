"""A small target in a thread: memory, registers and run control behind a real TargetConnection."""

import queue
import threading
import time
from dataclasses import replace
from typing import ClassVar

from kdsim.errors import KdsimError
from kdsim.wire.context import CONTEXT_SIZE, Context, SpecialRegisters
from kdsim.wire.endpoint import BreakIn, Connected, Lost
from kdsim.wire.manipulate import (
    NO_REPLY,
    Api,
    ContextExArguments,
    Continue2Arguments,
    IoArguments,
    MemoryArguments,
    MsrArguments,
    RestoreBreakpointArguments,
    Status,
    VersionArguments,
    WriteBreakpointArguments,
)
from kdsim.wire.messages import (
    AnyStateChange,
    ControlReport,
    ExceptionChange,
    GetString,
    LoadSymbolsChange,
)
from kdsim.wire.packets import PacketType
from kdsim.wire.target_connection import Request, TargetConnection

BASE = 0xFFFFF80000000000
SIZE = 0x4000
PAGE = 0x1000
PHYSICAL = 0x100000
VERSION = VersionArguments(15, 19041, kernel_base=BASE, module_list=BASE + 8, data_list=BASE + 16)


class FakeTarget:
    """Readable at BASE..BASE+SIZE except the third page; takes orders from tests while it runs.

    Orders wait until the target has seen a debugger: what one sends into a pseudo terminal is on
    its way for as long as the kernel likes.
    """

    def __init__(self, connection: TargetConnection, halted: bool = False):
        self.connection = connection
        self.memory = bytearray(range(256)) * (SIZE // 256)
        self.hole = range(BASE + 2 * PAGE, BASE + 3 * PAGE)
        self.contexts = [Context(), Context()]
        self.special = [SpecialRegisters(), SpecialRegisters()]
        self.msrs = {0xC0000080: 0xD01}
        self.breakpoints = {}
        self.cleared = []
        self.requests = []
        self.continued = queue.Queue()
        self.printed = queue.Queue()
        self.answers = queue.Queue()
        self.events = []
        self.restart = connection.restart
        self.processor = 0
        self._orders = queue.Queue()
        self._halted = halted
        self._done = False
        self._context_shown = False
        self.change: AnyStateChange = self.breakpoint()
        self._thread = threading.Thread(target=self._main, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._done = True
        self._thread.join(60)
        assert not self._thread.is_alive()
        self.connection.close()

    def order(self, function):
        """Run `function(connection)` in the target's thread while the guest runs."""
        self._orders.put(function)

    def stop(self, change):
        """Stop with `change` as soon as the guest runs."""
        self.order(lambda connection: self._stop(change))

    def print(self, text):
        self.order(lambda connection: self.printed.put(connection.print(text)))

    def ask(self, text, limit):
        question = GetString(text, limit)
        self.order(lambda connection: self.answers.put(connection.prompt(question)))

    def breakpoint(self):
        return ExceptionChange(
            processor=self.processor,
            processors=2,
            thread=0xFFFF800000001000 + self.processor,
            pc=self.contexts[self.processor].get("rip"),
            code=0x80000003,
            address=self.contexts[self.processor].get("rip"),
            parameters=(0,),
            report=ControlReport(dr7=0x455),
        )

    def _main(self):
        while not self._done:
            if self._halted:
                self._serve(self.connection.wait(0.01))
                continue
            event = self.connection.poll()
            if event is not None:
                self.events.append(event)
            if isinstance(event, BreakIn):
                self._stop(self.breakpoint())
            elif not self._orders.empty() and connected(self):
                self._orders.get()(self.connection)
            elif event is None:
                self.connection.link.wait(0.002)

    def _stop(self, change):
        self.change = change
        self._halted = True
        self._context_shown = False
        self.connection.report(change)

    def _serve(self, event):
        if isinstance(event, Request):
            self._answer(event.message)
        elif isinstance(event, Lost):
            self.events.append(event)
            if isinstance(self.change, LoadSymbolsChange):
                self._halted = False
        elif event is not None:
            self.events.append(event)
            self._context_shown = False
            self.connection.report(self.change)

    def _answer(self, message):
        self.requests.append(message.api)
        try:
            handler = self.HANDLERS.get(message.api)
            reply = handler(self, message) if handler else message.reply(Status.UNSUCCESSFUL)
        except (KdsimError, IndexError):
            reply = message.reply(Status.UNSUCCESSFUL)
        if message.api not in NO_REPLY:
            self.connection.reply(reply)

    def _readable(self, address, size):
        end = address
        while end < address + size and BASE <= end < BASE + SIZE and end not in self.hole:
            end += 1
        return end - address

    def _read(self, message):
        address, size, _ = message.arguments(MemoryArguments)
        size = min(size, self.connection.data_limit)
        start = address + (BASE - PHYSICAL if message.api == Api.READ_PHYSICAL else 0)
        count = self._readable(start, size)
        data = bytes(self.memory[start - BASE : start - BASE + count])
        status = Status.SUCCESS if count == size else Status.UNSUCCESSFUL
        return message.reply(status, MemoryArguments(address, size, count), data)

    def _write(self, message):
        address, size, _ = message.arguments(MemoryArguments)
        start = address + (BASE - PHYSICAL if message.api == Api.WRITE_PHYSICAL else 0)
        count = self._readable(start, size)
        self.memory[start - BASE : start - BASE + count] = message.data[:count]
        status = Status.SUCCESS if count == size else Status.UNSUCCESSFUL
        return message.reply(status, MemoryArguments(address, size, count))

    def _get_context(self, message):
        self._context_shown = True
        return message.reply(data=self.contexts[message.processor].raw)

    def _set_context(self, message):
        if not self._context_shown or len(message.data) != CONTEXT_SIZE:
            return message.reply(Status.UNSUCCESSFUL)
        self.contexts[message.processor] = Context(message.data)
        return message.reply()

    def _read_control(self, message):
        selector, size, _ = message.arguments(MemoryArguments)
        if selector != 2:
            return message.reply(Status.UNSUCCESSFUL)
        data = self.special[message.processor].raw[:size]
        return message.reply(arguments=MemoryArguments(selector, size, len(data)), data=data)

    def _write_control(self, message):
        self.special[message.processor] = SpecialRegisters(message.data)
        return message.reply()

    def _set_breakpoint(self, message):
        address, _ = message.arguments(WriteBreakpointArguments)
        if not self._readable(address, 1):
            return message.reply(Status.UNSUCCESSFUL)
        handle = len(self.breakpoints) + 1
        self.breakpoints[handle] = address
        return message.reply(arguments=WriteBreakpointArguments(address, handle))

    def _clear_breakpoint(self, message):
        (handle,) = message.arguments(RestoreBreakpointArguments)
        self.cleared.append(handle)
        found = self.breakpoints.pop(handle, None)
        return message.reply(Status.UNSUCCESSFUL if found is None else Status.SUCCESS)

    def _read_msr(self, message):
        number = message.arguments(MsrArguments).msr
        if number not in self.msrs:
            return message.reply(Status.NO_SUCH_DEVICE)
        value = self.msrs[number]
        return message.reply(arguments=MsrArguments(number, value & 0xFFFFFFFF, value >> 32))

    def _write_msr(self, message):
        number, low, high = message.arguments(MsrArguments)
        self.msrs[number] = high << 32 | low
        return message.reply()

    def _read_io(self, message):
        port, size, _ = message.arguments(IoArguments)
        return message.reply(arguments=IoArguments(port, size, 0x11223344))

    def _continue(self, message):
        self._halted = False
        self.continued.put(message.arguments(Continue2Arguments))

    def _switch(self, message):
        self.processor = message.processor
        self._stop(self.breakpoint())

    def _reboot(self, message):
        self._halted = False
        self.restart()

    def _bugcheck(self, message):
        self._halted = False
        self.stop(self.breakpoint())

    HANDLERS: ClassVar = {
        Api.GET_VERSION: lambda self, message: message.reply(arguments=VERSION),
        Api.READ_VIRTUAL: _read,
        Api.READ_PHYSICAL: _read,
        Api.WRITE_VIRTUAL: _write,
        Api.WRITE_PHYSICAL: _write,
        Api.GET_CONTEXT: _get_context,
        Api.SET_CONTEXT: _set_context,
        Api.READ_CONTROL_SPACE: _read_control,
        Api.WRITE_CONTROL_SPACE: _write_control,
        Api.WRITE_BREAKPOINT: _set_breakpoint,
        Api.RESTORE_BREAKPOINT: _clear_breakpoint,
        Api.READ_MSR: _read_msr,
        Api.WRITE_MSR: _write_msr,
        Api.READ_IO: _read_io,
        Api.CONTINUE2: _continue,
        Api.SWITCH_PROCESSOR: _switch,
        Api.REBOOT: _reboot,
        Api.CAUSE_BUGCHECK: _bugcheck,
    }


class ForeignTarget(FakeTarget):
    """Another build without a KDBG block, which clips reads at 128 bytes and says strange things.

    GetContextEx and much else is refused, as by any FakeTarget.
    """

    most = 128

    def _clipped(self, message):
        address, size, _ = message.arguments(MemoryArguments)
        reply = self._read(message)
        data = reply.data[: self.most]
        status = Status.SUCCESS if len(data) == min(size, self.most) else Status.UNSUCCESSFUL
        return message.reply(status, MemoryArguments(address, size, len(data)), data)

    def say(self, kind, payload):
        """Send a packet of any kind as soon as a debugger is there; stop behind it."""

        def say(connection):
            connection.endpoint.send(kind, payload, time.monotonic())
            self._stop(self.breakpoint())

        self.order(say)

    HANDLERS: ClassVar = {
        **FakeTarget.HANDLERS,
        Api.GET_VERSION: lambda self, message: message.reply(
            arguments=VERSION._replace(minor=22621, data_list=0)
        ),
        Api.READ_VIRTUAL: _clipped,
        Api.READ_PHYSICAL: _clipped,
    }


class VirtualBoxTarget(ForeignTarget):
    """VirtualBox' stub, src/VBox/Debugger/DBGCRemoteKd.cpp: no Windows found in the machine.

    It knows GetContextEx and not GetContext, refuses what it does not know with 16 bytes, reads
    all or nothing, sends more control space than was asked for, and fills in little at a stop.
    """

    NOT_IMPLEMENTED = 0xC0000002

    def breakpoint(self):
        change = super().breakpoint()
        return replace(change, thread=0, address=0, parameters=(0, 0, 0))

    def _answer(self, message):
        if message.api in self.HANDLERS:
            super()._answer(message)
            return
        self.requests.append(message.api)
        refusal = message.reply(self.NOT_IMPLEMENTED).pack()[:16]
        endpoint = self.connection.endpoint
        endpoint.send(PacketType.MANIPULATE, refusal, time.monotonic())

    def _all_or_nothing(self, message):
        reply = self._read(message)
        if reply.succeeded:
            return reply
        size = message.arguments(MemoryArguments).size
        return message.reply(reply.status, reply.arguments(MemoryArguments)._replace(actual=size))

    def _get_part(self, message):
        wanted = message.arguments(ContextExArguments)
        data = self._get_context(message).data[wanted.offset : wanted.offset + wanted.size]
        return message.reply(arguments=wanted._replace(total=len(data)), data=data)

    def _more_control(self, message):
        reply = self._read_control(message)
        return reply._replace(data=reply.data + self.contexts[message.processor].raw)

    HANDLERS: ClassVar = {
        api: handler
        for api, handler in FakeTarget.HANDLERS.items()
        if api not in (Api.GET_CONTEXT, Api.READ_MSR, Api.WRITE_MSR, Api.READ_IO)
    } | {
        Api.GET_VERSION: lambda self, message: message.reply(
            arguments=VersionArguments(15, 0x2800, flags=5)
        ),
        Api.READ_VIRTUAL: _all_or_nothing,
        Api.READ_PHYSICAL: _all_or_nothing,
        Api.GET_CONTEXT_EX: _get_part,
        Api.READ_CONTROL_SPACE: _more_control,
        Api.RESTORE_BREAKPOINT: lambda self, message: message.reply(),
    }


def connected(target):
    """Whether the target saw a session begin."""
    return any(isinstance(event, Connected) for event in target.events)
