"""Which target the command line means, and what kd says while it reaches for it."""

from __future__ import annotations

from kdsim.debugger.backends.base import Backend
from kdsim.debugger.backends.live import LiveBackend
from kdsim.debugger.output import Output
from kdsim.wire.kdnet import KdnetHost
from kdsim.wire.links import UdpLink
from kdsim.wire.transport import open_host, parse_transport


def live(text: str, key: str, out: Output | None) -> Backend:
    """The backend of `-k`, not yet connected; `out`: where to tell the user what it waits for."""
    if key and text.startswith("net:") and "key=" not in text:
        text = f"{text},key={key}"
    return AnnouncedBackend(text, out)


class AnnouncedBackend(LiveBackend):
    """A live backend that tells whom it waits for, and who came."""

    def __init__(self, text: str, out: Output | None) -> None:
        super().__init__(open_host(parse_transport(text)))
        self._out = out

    def connect(self, timeout: float | None) -> None:
        self._say(f"Waiting to reconnect... ({self.description})")
        super().connect(timeout)
        endpoint, link = self._connection.endpoint, self._connection.link
        if isinstance(endpoint, KdnetHost) and isinstance(link, UdpLink) and endpoint.peer:
            self._say(f"Connected to target {endpoint.peer[0]} on port {link.local[1]}.")

    def _say(self, text: str) -> None:
        if self._out is not None:
            self._out.line(text)
