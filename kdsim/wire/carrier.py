"""Moves bytes between an endpoint and a link; starts no thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from kdsim.wire.endpoint import Endpoint, WireEvent
from kdsim.wire.kdcom import KdcomHost, KdcomTarget
from kdsim.wire.kdnet import KdnetHost, KdnetTarget
from kdsim.wire.links import Address, Data, Link, LinkUp, Refused
from kdsim.wire.manipulate import HEADER_SIZE

E = TypeVar("E", bound=Endpoint)
Clock = Callable[[], float]

MOST_ARRIVALS = 64
"""Datagrams taken in a row before something else has its turn."""


class Carrier(Generic[E]):
    """Moves bytes between an endpoint and a link."""

    def __init__(self, endpoint: E, link: Link, clock: Clock = time.monotonic) -> None:
        self.endpoint = endpoint
        self.link = link
        self.notice: Callable[[str], None] = unheard
        """Takes a line for the user about what is wrong on the wire."""
        self._clock = clock
        self._put_off = 0

    @property
    def description(self) -> str:
        return self.link.description

    @property
    def data_limit(self) -> int:
        """Most data bytes of one manipulate message."""
        return self.endpoint.payload_limit - HEADER_SIZE

    def _service(self) -> list[WireEvent]:
        """Take what came and do what is due; `_flush` sends what follows from it. Never sleeps."""
        endpoint, now = self.endpoint, self._clock()
        events: list[WireEvent] = []
        for arrival in self.link.receive():
            if isinstance(arrival, Data):
                if arrival.source != self._peer:
                    # It may become the peer; what is queued belongs to the one we have.
                    self._flush()
                events += endpoint.receive(arrival.data, now, arrival.source)
            elif isinstance(arrival, Refused):
                if isinstance(endpoint, KdnetTarget):
                    endpoint.search(now)
                events += endpoint.give_up(now, "nobody listens")
            elif isinstance(endpoint, KdcomTarget | KdcomHost):
                if isinstance(arrival, LinkUp):
                    events += endpoint.link_up(now)
                else:
                    events += endpoint.link_down(arrival.reason)
        if self._due(now):
            events += endpoint.tick(now)
        return events

    def _due(self, now: float) -> bool:
        """Whether the endpoint has something to do that nothing can forestall any more."""
        deadline = self.endpoint.deadline
        if deadline is None or now < deadline:
            return False
        # What lies unread may be what was waited for: we were kept from the processor, not they.
        if self._put_off < MOST_ARRIVALS and self.link.wait(0):
            self._put_off += 1
            return False
        self._put_off = 0
        return True

    @property
    def _peer(self) -> Address | None:
        """Where a debugger's datagrams go; the other links know only one place."""
        return self.endpoint.peer if isinstance(self.endpoint, KdnetHost) else None

    def _flush(self) -> None:
        out = self.endpoint.outgoing()
        if out:
            self.link.send(out, self._peer)

    def _until(self, end: float | None) -> float | None:
        """Seconds to sleep at most: to the endpoint's deadline or `end`."""
        deadline = self.endpoint.deadline
        if deadline is None or (end is not None and end < deadline):
            deadline = end
        return None if deadline is None else max(0.0, deadline - self._clock())


def unheard(line: str) -> None:
    """Nobody wants to know."""
