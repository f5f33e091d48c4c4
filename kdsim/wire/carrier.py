"""Moves bytes between an endpoint and a link; starts no thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from kdsim.wire.endpoint import Endpoint, WireEvent
from kdsim.wire.kdcom import KdcomHost, KdcomTarget
from kdsim.wire.kdnet import KdnetHost, KdnetTarget
from kdsim.wire.links import Address, Arrival, Data, Link, LinkUp, Refused
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

    @property
    def description(self) -> str:
        return self.link.description

    @property
    def data_limit(self) -> int:
        """Most data bytes of one manipulate message."""
        return self.endpoint.payload_limit - HEADER_SIZE

    def _service(self) -> list[WireEvent]:
        """Take what came, up to what the owner must see, and do what is due; never sleeps.

        What follows from it is sent by `_flush`. Whoever was kept from the processor finds here
        what it waited for: nothing is given up or repeated before all that came was looked at.
        """
        endpoint = self.endpoint
        events: list[WireEvent] = []
        for _ in range(MOST_ARRIVALS):
            now = self._clock()
            for arrival in self.link.receive():
                events += self._arrived(arrival, now)
            if events or not self.link.wait(0):
                break
        deadline = endpoint.deadline
        overdue = deadline is not None and now >= deadline
        if overdue and not (events and self.link.wait(0)):
            events += endpoint.tick(now)
        return events

    def _arrived(self, arrival: Arrival, now: float) -> list[WireEvent]:
        endpoint = self.endpoint
        if isinstance(arrival, Data):
            if arrival.source != self._peer:
                # It may become the peer; what is queued belongs to the one we have.
                self._flush()
            return endpoint.receive(arrival.data, now, arrival.source)
        if isinstance(arrival, Refused):
            if isinstance(endpoint, KdnetTarget):
                endpoint.search(now)
            return endpoint.give_up(now, "nobody listens")
        if isinstance(endpoint, KdcomTarget | KdcomHost):
            if isinstance(arrival, LinkUp):
                return endpoint.link_up(now)
            return endpoint.link_down(arrival.reason)
        return []

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
