"""The session of plain `kdsim` with a machine of its own."""

from __future__ import annotations

from kdsim.debugger.backends.live import LiveBackend
from kdsim.debugger.shell.private_target import PrivateTarget
from kdsim.wire.host_connection import HostConnection
from kdsim.wire.kdnet import KdnetHost
from kdsim.wire.links import UdpLink


class PrivateBackend(LiveBackend):
    """A live backend that knows the process at the other end, and notices when it ends."""

    def __init__(self, target: PrivateTarget) -> None:
        link = UdpLink(target.socket, "net:loopback")
        connection = HostConnection(KdnetHost(target.key), link)
        super().__init__(connection)
        self._target = target
        connection.guard(target.life, target.check)
        # No debugger was there before us that could have left breakpoints.
        self._known.swept = True

    def close(self) -> None:
        super().close()
        self._target.close()
