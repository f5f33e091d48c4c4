"""The requests a debugger makes of its target, whichever way they travel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from kdsim.errors import MemoryFault, ProtocolError, TargetError
from kdsim.wire.context import CONTEXT_SIZE, ContextFlag
from kdsim.wire.manipulate import (
    Api,
    Arguments,
    ContextArguments,
    ContextExArguments,
    IoArguments,
    Manipulate,
    MemoryArguments,
    MsrArguments,
    RestoreBreakpointArguments,
    SearchArguments,
    Status,
    VersionArguments,
    WriteBreakpointArguments,
)

ADDRESS_SPACE = 1 << 64
ADDRESS_MASK = ADDRESS_SPACE - 1
PAGE_SIZE = 0x1000


Take = Callable[[Manipulate], bool]
"""Sees a reply; False ends the conversation."""


class Requests:
    """Questions in integers and bytes over a function that carries one message.

    Args:
        ask: sends a request and returns its reply.
        read_size: bytes asked for in one read; targets may send fewer.
        write_size: bytes sent in one write.
        converse: asks many questions in a row, if there is a faster way than one by one.
    """

    def __init__(
        self,
        ask: Callable[[Manipulate], Manipulate],
        read_size: int,
        write_size: int,
        converse: Callable[[Iterable[Manipulate], Take], None] | None = None,
    ) -> None:
        self._ask = ask
        self._converse = converse or self._one_by_one
        self._read_size = read_size
        self._write_size = write_size

    def version(self) -> VersionArguments:
        reply = self._ask(Manipulate.request(Api.GET_VERSION))
        _check(reply, "the target does not tell its version")
        return reply.arguments(VersionArguments)

    def read(self, api: Api, address: int, size: int) -> bytes:
        """The readable prefix of a range of virtual or physical memory."""
        size = min(size, ADDRESS_SPACE - address)
        data = bytearray()
        end = withheld = False

        def questions() -> Iterator[Manipulate]:
            for start in range(len(data), size, self._read_size):
                wanted = min(size - start, self._read_size)
                yield Manipulate.request(api, MemoryArguments(address + start, wanted))

        def take(reply: Manipulate) -> bool:
            nonlocal end, withheld
            wanted = min(size - len(data), self._read_size)
            told = min(reply.arguments(MemoryArguments).actual, wanted)
            came = reply.data[:told]
            data.extend(came)
            withheld = told > 0 and not came
            end = not came or not reply.succeeded
            if end or len(came) == wanted:
                return not end
            if (address + len(data)) % PAGE_SIZE:
                # As much as this target sends at a time; at a page it may have met its last one.
                self._read_size = len(came)
            return False

        converse = self._converse if size > self._read_size else self._one_by_one
        while len(data) < size and not end:
            converse(questions(), take)
        rest = -(address + len(data)) % PAGE_SIZE
        if withheld and 0 < rest < min(size - len(data), self._read_size):
            # VirtualBox gives all or nothing, and names the size of what it does not give.
            return bytes(data) + self.read(api, address + len(data), rest)
        return bytes(data)

    def _one_by_one(self, messages: Iterable[Manipulate], take: Take) -> None:
        for message in messages:
            if not take(self._ask(message)):
                return

    def write(self, api: Api, address: int, data: bytes) -> int:
        """How many bytes of `data` could be written."""
        done = 0
        while done < len(data):
            part = data[done : done + self._write_size]
            arguments = MemoryArguments((address + done) & ADDRESS_MASK, len(part))
            reply = self._ask(Manipulate.request(api, arguments, part))
            written = min(reply.arguments(MemoryArguments).actual, len(part))
            done += written
            if not written or not reply.succeeded:
                break
        return done

    def search(self, address: int, size: int, pattern: bytes) -> int:
        """The place up to which `pattern` begins nowhere in a range, as far as the target tells.

        The end of the range when it is not there at all; `address` itself when the target cannot
        say: some know no such request, or give up where memory cannot be read.
        """
        pattern = pattern[: self._write_size]
        arguments = SearchArguments(address, size, len(pattern))
        reply = self._ask(Manipulate.request(Api.SEARCH_MEMORY, arguments, pattern))
        if reply.status == Status.NOT_FOUND:
            return address + size
        found = reply.arguments(SearchArguments).address if reply.succeeded else address
        return found if address <= found < address + size else address

    def context(self, processor: int) -> bytes:
        reply = self._ask(
            Manipulate.request(
                Api.GET_CONTEXT, ContextArguments(ContextFlag.ALL), processor=processor
            )
        )
        if not reply.succeeded:
            # VirtualBox knows only this one, others only the first.
            whole = ContextExArguments(0, CONTEXT_SIZE)
            again = Manipulate.request(Api.GET_CONTEXT_EX, whole, processor=processor)
            reply = self._ask(again)
        _check(reply, f"the context of processor {processor} cannot be read")
        if len(reply.data) != CONTEXT_SIZE:
            raise ProtocolError(f"CONTEXT of {len(reply.data)} bytes came", reply.data)
        return reply.data

    def set_context(self, processor: int, context: bytes) -> None:
        arguments = ContextArguments(ContextFlag.ALL)
        request = Manipulate.request(Api.SET_CONTEXT, arguments, context, processor=processor)
        _check(self._ask(request), f"the context of processor {processor} cannot be written")

    def control_space(self, processor: int, selector: int, size: int) -> bytes:
        arguments = MemoryArguments(selector, size)
        request = Manipulate.request(Api.READ_CONTROL_SPACE, arguments, processor=processor)
        reply = self._ask(request)
        _check(reply, f"control space {selector} of processor {processor} cannot be read")
        return reply.data[: reply.arguments(MemoryArguments).actual]

    def set_control_space(self, processor: int, selector: int, data: bytes) -> None:
        arguments = MemoryArguments(selector, len(data))
        request = Manipulate.request(Api.WRITE_CONTROL_SPACE, arguments, data, processor=processor)
        failure = f"control space {selector} of processor {processor} cannot be written"
        _check(self._ask(request), failure)

    def msr(self, number: int) -> int:
        reply = self._ask(_request(Api.READ_MSR, MsrArguments(number), f"MSR {number:#x}"))
        _check(reply, f"MSR {number:#x} cannot be read")
        _, low, high = reply.arguments(MsrArguments)
        return high << 32 | low

    def set_msr(self, number: int, value: int) -> None:
        arguments = MsrArguments(number, value & 0xFFFFFFFF, value >> 32)
        reply = self._ask(_request(Api.WRITE_MSR, arguments, f"MSR {number:#x}"))
        _check(reply, f"MSR {number:#x} cannot be written")

    def port(self, number: int, size: int) -> int:
        reply = self._ask(_request(Api.READ_IO, IoArguments(number, size), f"port {number:#x}"))
        _check(reply, f"port {number:#x} cannot be read")
        return reply.arguments(IoArguments).value & (1 << 8 * size) - 1

    def set_port(self, number: int, size: int, value: int) -> None:
        arguments = IoArguments(number, size, value)
        reply = self._ask(_request(Api.WRITE_IO, arguments, f"port {number:#x}"))
        _check(reply, f"port {number:#x} cannot be written")

    def set_breakpoint(self, va: int) -> int:
        reply = self._ask(Manipulate.request(Api.WRITE_BREAKPOINT, WriteBreakpointArguments(va)))
        if not reply.succeeded:
            raise MemoryFault(va, 1, "the target could not plant a breakpoint there")
        return reply.arguments(WriteBreakpointArguments).handle

    def clear_breakpoint(self, handle: int) -> bool:
        """Whether there was one of that handle."""
        arguments = RestoreBreakpointArguments(handle)
        return self._ask(Manipulate.request(Api.RESTORE_BREAKPOINT, arguments)).succeeded


def _request(api: Api, arguments: Arguments, what: str) -> Manipulate:
    try:
        return Manipulate.request(api, arguments)
    except ProtocolError as error:
        raise TargetError(f"{what}: a number is out of range") from error


def _check(reply: Manipulate, failure: str) -> None:
    if not reply.succeeded:
        raise TargetError(f"{failure} (status {reply.status:08x})")
