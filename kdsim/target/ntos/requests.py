"""The table of manipulate requests: which function answers which API.

A handler takes the debuggee and the request and returns the reply; it never raises for what a
debugger sent. Handlers live in `memory_requests`, `state_requests` and `breakpoints`; run control
(`Continue` and its kin) has no replies and belongs to `kd`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from kdsim.errors import MemoryFault
from kdsim.wire.manipulate import Api, Manipulate, Status

if TYPE_CHECKING:
    from kdsim.target.machine.machine import Machine
    from kdsim.target.machine.paging import AddressSpace
    from kdsim.target.ntos.kernel import Kernel
    from kdsim.target.ntos.state import ProcessorStates


class Debuggee(NamedTuple):
    """What requests look at: the machine, its kernel and one address space.

    `states` is None while the machine runs; then only memory and the kernel's own data are served.
    """

    machine: Machine
    kernel: Kernel
    memory: AddressSpace
    limit: int
    """Most data bytes a reply may carry."""
    states: ProcessorStates | None = None


Handler = Callable[[Debuggee, Manipulate], Manipulate]

_HANDLERS: dict[int, Handler] = {}
_WHILE_RUNNING: set[int] = set()


def answers(*apis: Api, while_running: bool = False) -> Callable[[Handler], Handler]:
    """Declare the handler of one or more requests."""

    def declare(handler: Handler) -> Handler:
        for api in apis:
            _HANDLERS[api] = handler
            if while_running:
                _WHILE_RUNNING.add(api)
        return handler

    return declare


def answer(debuggee: Debuggee, request: Manipulate) -> Manipulate:
    """The reply to one request; unknown APIs and those that need a stop are refused."""
    handler = _HANDLERS.get(request.api)
    if handler is None or (debuggee.states is None and request.api not in _WHILE_RUNNING):
        return request.reply(Status.UNSUCCESSFUL)
    try:
        return handler(debuggee, request)
    except MemoryFault:
        # The kernel's own structures were unreadable, for instance overwritten by the debugger.
        return request.reply(Status.UNSUCCESSFUL)
