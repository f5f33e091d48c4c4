"""A link to an endpoint in the same thread, in simulated time: who waits, waits no time at all."""

from kdsim.wire.endpoint import Endpoint, WireEvent
from kdsim.wire.kdnet import KdnetHost, KdnetTarget
from kdsim.wire.links import Data, LinkUp

PLACE = ("127.0.0.1", 4711)


class SimulatedLink:
    """Stands where the link to `peer` stands; what comes to the peer is kept in `events`.

    The peer does what an endpoint does by itself: it acknowledges, and it answers pokes.
    """

    description = "simulated"
    reconnects = False

    def __init__(self, peer: Endpoint) -> None:
        self.now = 0.0
        self.events: list[WireEvent] = []
        self._peer = peer
        self._arrivals = []
        if not isinstance(peer, KdnetHost | KdnetTarget):
            self._arrivals.append(LinkUp())
            peer.link_up(0.0)
            self._collect()

    def say(self, kind, payload):
        """Have the peer send something."""
        self._peer.send(kind, payload, self.now)
        self._collect()

    def clock(self):
        return self.now

    def wait(self, timeout):
        assert timeout is not None, "this wait would never end"
        due = self._peer.deadline
        if not self._arrivals and due is not None and due <= self.now + timeout:
            self.now = max(self.now, due)
            self.events += self._peer.tick(self.now)
            self._collect()
        elif not self._arrivals:
            self.now += timeout
        return bool(self._arrivals)

    def receive(self):
        arrivals, self._arrivals = self._arrivals, []
        return arrivals

    def send(self, pieces, to=None):
        for piece in pieces:
            self.events += self._peer.receive(piece, self.now, PLACE)
        self._collect()

    def watch(self, fd):
        return

    def close(self):
        return

    def _collect(self):
        self._arrivals += [Data(piece, PLACE) for piece in self._peer.outgoing()]
