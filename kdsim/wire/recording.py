"""A link that also writes what passes over it to a capture file."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import BinaryIO

from kdsim.wire.capture import TCP, UDP, Address, CaptureWriter, Segment
from kdsim.wire.links import Arrival, Data, Link

LINE = (("127.0.0.1", 1), ("127.0.0.1", 2))
"""The two ends of a serial line, which has no addresses: the target's and the debugger's."""


class RecordingLink:
    """Stands before another link.

    Args:
        link: the real one.
        stream: where the capture goes; closed with the link.
        local: our own address for datagrams; None for a stream.
        peer: where datagrams without another destination go.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        link: Link,
        stream: BinaryIO,
        local: Address | None = None,
        peer: Address | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.description = link.description
        self.reconnects = link.reconnects
        self._link = link
        self._stream = stream
        self._capture = CaptureWriter(stream)
        self._protocol = TCP if local is None else UDP
        self._ends = (local, peer) if local and peer else LINE
        self._clock = clock

    def wait(self, timeout: float | None) -> bool:
        return self._link.wait(timeout)

    def watch(self, fd: int) -> None:
        self._link.watch(fd)

    def receive(self) -> list[Arrival]:
        arrivals = self._link.receive()
        for arrival in arrivals:
            if isinstance(arrival, Data):
                self._write(arrival.source or self._ends[1], self._ends[0], arrival.data)
        return arrivals

    def send(self, pieces: Sequence[bytes], to: Address | None = None) -> None:
        self._link.send(pieces, to)
        for data in pieces:
            self._write(self._ends[0], to or self._ends[1], data)

    def close(self) -> None:
        self._link.close()
        self._stream.close()

    def _write(self, source: Address, destination: Address, data: bytes) -> None:
        self._capture.write(Segment(self._clock(), self._protocol, source, destination, data))
