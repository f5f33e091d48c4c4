"""An unreliable network of real datagrams or a noisy line, between a debugger and a target."""

import heapq
import select
import socket
import threading
import time
from itertools import count
from pathlib import Path

from tests.wire.network import Faults, Noise


class _Between:
    """Does its work in a thread until it is left.

    Attributes:
        passed: datagrams that came in; bytes on a line.
    """

    def __init__(self, *sockets: socket.socket) -> None:
        self.passed = 0
        self._wake, self._end = socket.socketpair()
        self._sockets = (*sockets, self._wake, self._end)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._wake.send(b"x")
        self._thread.join()
        for sock in self._sockets:
            sock.close()

    def _run(self):
        """Pass things on until `_end` is readable."""
        raise NotImplementedError


class Relay(_Between):
    """Between the target, which talks to `port`, and the debugger at `host_port`."""

    def __init__(self, host_port: int, faults: Faults) -> None:
        self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._front.bind(("127.0.0.1", 0))
        self._back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._back.bind(("127.0.0.1", 0))
        super().__init__(self._front, self._back)
        self.port = self._front.getsockname()[1]
        self._host = ("127.0.0.1", host_port)
        self._target = None
        self._faults = faults
        self._late = []
        self._order = count()

    def _run(self):
        while True:
            wait = max(0.0, self._late[0][0] - time.monotonic()) if self._late else None
            ready = select.select([self._front, self._back, self._end], [], [], wait)[0]
            if self._end in ready:
                return
            if self._front in ready:
                data, self._target = self._front.recvfrom(65536)
                self._take(data, self._back, to_host=True)
            if self._back in ready:
                self._take(self._back.recv(65536), self._front, to_host=False)
            while self._late and self._late[0][0] <= time.monotonic():
                _, _, data, sock, to_host = heapq.heappop(self._late)
                self._send(data, sock, to_host)

    def _take(self, data, sock, *, to_host):
        self.passed += 1
        for lateness, piece in self._faults.deliveries(data):
            if lateness > 0.001:
                late = time.monotonic() + lateness
                heapq.heappush(self._late, (late, next(self._order), piece, sock, to_host))
            else:
                self._send(piece, sock, to_host)

    def _send(self, data, sock, to_host):
        place = self._host if to_host else self._target
        try:
            sock.sendto(data, place)
        except ConnectionRefusedError:
            # The other end is not there (yet); the datagram is lost.
            return


class StreamRelay(_Between):
    """A line between the target, which listens at `place`, and the debugger, which calls `path`."""

    def __init__(self, path: Path, place: Path, noise: Noise) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        super().__init__(self._listener)
        self._place = str(place)
        self._noise = noise

    def _run(self):
        if self._end in select.select([self._listener, self._end], [], [])[0]:
            return
        debugger, _ = self._listener.accept()
        with debugger, socket.socket(socket.AF_UNIX) as target:
            target.connect(self._place)
            others = {debugger: target, target: debugger}
            while True:
                ready = select.select([debugger, target, self._end], [], [])[0]
                for sock in ready:
                    data = b"" if sock is self._end else sock.recv(65536)
                    if not data:
                        return
                    self.passed += len(data)
                    others[sock].sendall(self._noise.pass_on(data))
