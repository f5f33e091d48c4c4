"""Sockets under the endpoints: UDP, and streams over Unix sockets or TCP.

All are non-blocking. `receive` hands out what has arrived, `wait` sleeps until something does, and
what cannot be sent at once is kept (streams) or lost like any datagram (UDP).
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from kdsim.errors import TargetError, TargetGone

Address = tuple[str, int]

CHUNK = 65536
DATAGRAM = 8192
"""More than any KDNET datagram. One that is longer is cut, and then not opened."""
CONNECT_TIMEOUT = 5.0
LOOPBACK = "127.0.0.1"
ANYWHERE = "0.0.0.0"
MAPPED = "::ffff:"
"""In front of an IPv4 address where IPv6 is spoken."""


class Data(NamedTuple):
    """Bytes that came; `source` for datagrams."""

    data: bytes
    source: Address | None = None


class LinkUp(NamedTuple):
    """A stream opened."""


class LinkDown(NamedTuple):
    """A stream closed."""

    reason: str


class Refused(NamedTuple):
    """The other machine said that nobody listens for our datagrams."""


Arrival = Data | LinkUp | LinkDown | Refused


class Link(Protocol):
    description: str

    reconnects: bool
    """Whether a stream that closed is opened again by `wait`."""

    def wait(self, timeout: float | None) -> bool:
        """Sleep until something arrives or `timeout` seconds have passed; 0 only looks."""

    def watch(self, fd: int) -> None:
        """Let `wait` also end when `fd` is readable."""

    def receive(self) -> list[Arrival]:
        """What has arrived, or some of it: then `wait` does not sleep."""

    def send(self, pieces: Sequence[bytes], to: Address | None = None) -> None:
        """Send each as a datagram, or all as one piece of a stream."""

    def close(self) -> None: ...


def milliseconds(timeout: float | None) -> float | None:
    # Rounded up, so that a deadline has passed when the wait for it ends.
    return None if timeout is None else max(0, int(timeout * 1000 + 0.999))


class UdpLink:
    """One UDP socket. See `udp_listen` and `udp_connect`."""

    reconnects = False

    def __init__(self, sock: socket.socket, description: str) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._refused = False
        self._speaks_ipv6 = sock.family == socket.AF_INET6
        self.description = description
        self.local: Address = _plain(sock.getsockname())

    def wait(self, timeout: float | None) -> bool:
        return self._refused or bool(self._poll.poll(milliseconds(timeout) if timeout else timeout))

    def receive(self) -> list[Arrival]:
        # One at a time: to ask for another costs as much as to be told of it by `wait`.
        if self._refused:
            self._refused = False
            return [Refused()]
        try:
            data, source = self._socket.recvfrom(DATAGRAM)
        except BlockingIOError:
            return []
        except ConnectionRefusedError:
            return [Refused()]
        return [Data(data, _plain(source))]

    def send(self, pieces: Sequence[bytes], to: Address | None = None) -> None:
        for data in pieces:
            self._send(data, to)

    def _send(self, data: bytes, to: Address | None) -> None:
        try:
            if to is None:
                self._socket.send(data)
            else:
                mapped = self._speaks_ipv6 and ":" not in to[0]
                self._socket.sendto(data, (MAPPED + to[0] if mapped else to[0], to[1]))
        except ConnectionRefusedError:
            # The answer to an earlier datagram; this one was not sent.
            self._refused = True
        except OSError as error:
            # A full buffer or a network that is down now lose a datagram; it will be repeated.
            if error.errno not in (errno.EAGAIN, errno.ENOBUFS, *_UNREACHABLE):
                raise TargetError(f"{self.description}: {error.strerror}") from error

    def watch(self, fd: int) -> None:
        self._poll.register(fd, select.POLLIN)

    def close(self) -> None:
        self._socket.close()


_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EPERM)


def udp_listen(port: int, address: str = ANYWHERE) -> UdpLink:
    """A debugger's socket.

    Raises:
        TargetError: the port is in use or may not be used.
    """
    try:
        sock = _bound(port, address)
    except OSError as error:
        raise TargetError(_why_no_port("UDP", port, error)) from error
    return UdpLink(sock, f"net:port={sock.getsockname()[1]}")


def _bound(port: int, address: str) -> socket.socket:
    """A socket that hears IPv6 as well where we listen anywhere and the system has it."""
    if address == ANYWHERE and socket.has_dualstack_ipv6():
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        address = "::"
    else:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock


def _plain(address: tuple[str, int, int, int] | Address) -> Address:
    return address[0].removeprefix(MAPPED), address[1]


def udp_connect(host: Address) -> UdpLink:
    """A target's socket, which hears only its debugger.

    Raises:
        TargetError: the host name does not resolve.
    """
    address = resolve(host[0])
    try:
        sock = _connected((address, host[1]))
    except OSError as error:
        raise TargetError(f"cannot send to {host[0]} port {host[1]}: {error.strerror}") from error
    own = sock.getsockname()
    if own[0] != address:
        # Windows sends from the port it sends to, and some debuggers (rizin, radare2) hear no
        # other. On the debugger's own machine that port is the debugger's.
        with contextlib.suppress(OSError):
            same = _connected((address, host[1]), (own[0], host[1], *own[2:]))
            sock.close()
            sock = same
    return UdpLink(sock, f"net:{host[0]}:{host[1]}")


def _connected(to: Address, source: tuple[str, int] | None = None) -> socket.socket:
    family = socket.AF_INET6 if ":" in to[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if source is not None:
            sock.bind(source)
        sock.connect(to)
    except OSError:
        sock.close()
        raise
    return sock


def resolve(name: str) -> str:
    """The address of a host name, IPv4 where it has one."""
    try:
        found = socket.getaddrinfo(name.removeprefix(MAPPED), None, type=socket.SOCK_DGRAM)
        found.sort(key=lambda entry: entry[0] != socket.AF_INET)
        return str(found[0][4][0])
    except OSError as error:
        raise TargetError(f"host '{name}' is unknown: {error.strerror}") from error


def _why_no_port(kind: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{kind} port {port} is in use; another debugger or target may be running"
    return f"{kind} port {port} cannot be opened: {error.strerror}"


class Connected(Protocol):
    """What a stream needs of a connected socket."""

    def fileno(self) -> int: ...
    def setblocking(self, flag: bool, /) -> None: ...
    def recv(self, size: int, /) -> bytes: ...
    def send(self, data: bytes, /) -> int: ...
    def close(self) -> None: ...


class _Stream:
    """One connected stream socket with a buffer for what could not be sent at once."""

    def __init__(self, sock: Connected, poll: select.poll) -> None:
        sock.setblocking(False)
        if isinstance(sock, socket.socket) and sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.fd = sock.fileno()
        self._socket = sock
        self._poll = poll
        self._unsent = bytearray()
        poll.register(self.fd, select.POLLIN)

    def send(self, data: bytes) -> None:
        self._unsent += data
        if len(self._unsent) == len(data):
            self._flush()

    def _flush(self) -> None:
        try:
            sent = self._socket.send(bytes(self._unsent))
        except BlockingIOError:
            sent = 0
        except OSError:
            # The stream broke; the next `take` reports its end.
            sent = len(self._unsent)
        del self._unsent[:sent]
        self._poll.modify(self.fd, select.POLLIN | (select.POLLOUT if self._unsent else 0))

    def take(self, event: int) -> bytes | None:
        """What has come, perhaps nothing; None at the end of the stream."""
        if event & select.POLLOUT:
            self._flush()
        if not event & ~select.POLLOUT:
            return b""
        try:
            return self._socket.recv(CHUNK) or None
        except BlockingIOError:
            return b""
        except OSError:
            return None

    def close(self) -> None:
        self._poll.unregister(self.fd)
        self._socket.close()


class _StreamLink:
    """What both ends of a stream do with the one stream they have."""

    reconnects = False
    _peer: str

    def __init__(self, description: str) -> None:
        self.description = description
        self._poll = select.poll()
        self._stream: _Stream | None = None

    def watch(self, fd: int) -> None:
        self._poll.register(fd, select.POLLIN)

    def send(self, pieces: Sequence[bytes], to: Address | None = None) -> None:
        if self._stream is not None:
            self._stream.send(b"".join(pieces))

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _take(self, ready: dict[int, int]) -> list[Arrival]:
        stream = self._stream
        if stream is None or stream.fd not in ready:
            return []
        data = stream.take(ready[stream.fd])
        if data is None:
            stream.close()
            self._stream = None
            return [LinkDown(f"the {self._peer} closed the connection")]
        return [Data(data)] if data else []


class StreamListener(_StreamLink):
    """A target's listening stream: one debugger at a time, any number one after the other."""

    _peer = "debugger"

    def __init__(self, sock: socket.socket, description: str, path: Path | None = None) -> None:
        super().__init__(description)
        sock.listen(2)
        sock.setblocking(False)
        self._listener = sock
        self._path = path
        self._poll.register(sock, select.POLLIN)
        self.local = sock.getsockname()

    def wait(self, timeout: float | None) -> bool:
        return bool(self._poll.poll(milliseconds(timeout)))

    def receive(self) -> list[Arrival]:
        ready = dict(self._poll.poll(0))
        arrivals = self._take(ready)
        if self._listener.fileno() in ready:
            # Somebody calls: has the debugger we have left? Its last words may hide its end.
            while self._stream is not None:
                more = self._take({self._stream.fd: select.POLLIN})
                if not more:
                    break
                arrivals += more
            arrivals += self._accept()
        return arrivals

    def _accept(self) -> list[Arrival]:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            # The caller was gone before we came to it.
            return []
        if self._stream is not None:
            sock.close()
            return []
        self._stream = _Stream(sock, self._poll)
        return [LinkUp()]

    def close(self) -> None:
        super().close()
        self._listener.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)


class StreamConnector(_StreamLink):
    """A debugger's stream.

    Args:
        connect: makes the connection; raises TargetGone when nobody listens.
        description: for banners and messages.
        reconnect: whether to try again when nobody listens yet or the stream closed.
    """

    retry = 0.2
    """Seconds between two tries to connect."""
    _peer = "target"

    def __init__(self, connect: Callable[[], Connected], description: str, reconnect: bool) -> None:
        super().__init__(description)
        self.reconnects = reconnect
        self._connect = connect
        self._up = False
        self._try()

    def _try(self) -> None:
        try:
            sock = self._connect()
        except TargetGone:
            if not self.reconnects:
                raise
            return
        self._stream = _Stream(sock, self._poll)
        self._up = True

    def wait(self, timeout: float | None) -> bool:
        end = None if timeout is None else time.monotonic() + timeout
        while self._stream is None and self.reconnects:
            left = self.retry if end is None else min(self.retry, end - time.monotonic())
            if left <= 0:
                return False
            # Nothing can wake us while there is no socket: this is the pace of trying.
            self._poll.poll(milliseconds(left))
            self._try()
        if self._up:
            return True
        rest = None if end is None else end - time.monotonic()
        return bool(self._poll.poll(milliseconds(rest)))

    def receive(self) -> list[Arrival]:
        arrivals: list[Arrival] = []
        if self._up:
            self._up = False
            arrivals.append(LinkUp())
        return arrivals + self._take(dict(self._poll.poll(0)))


def unix_listen(path: str | Path) -> StreamListener:
    """Listen on a Unix socket; a socket file that nobody serves any longer is replaced.

    Raises:
        TargetError: the path is in use or cannot be created.
    """
    sock = bind_unix(Path(path))
    return StreamListener(sock, f"com:pipe,port={path}", Path(path))


def unix_connect(path: str | Path, reconnect: bool = False) -> StreamConnector:
    """Connect to a Unix socket.

    Raises:
        TargetGone: nobody listens, and `reconnect` is off.
    """
    return StreamConnector(lambda: open_unix(Path(path)), f"com:pipe,port={path}", reconnect)


def tcp_listen(port: int, host: str = LOOPBACK) -> StreamListener:
    """Listen on a TCP port.

    Raises:
        TargetError: the port is in use or may not be used.
    """
    address = resolve(host)
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        raise TargetError(_why_no_port("TCP", port, error)) from error
    return StreamListener(sock, f"com:ipport={sock.getsockname()[1]}")


def tcp_connect(host: str, port: int, reconnect: bool = False) -> StreamConnector:
    """Connect to a TCP port.

    Raises:
        TargetGone: nobody listens, and `reconnect` is off.
    """

    def connect() -> socket.socket:
        try:
            return socket.create_connection((host, port), CONNECT_TIMEOUT)
        except OSError as error:
            reason = error.strerror or str(error)
            raise TargetGone(f"nothing listens at {host} port {port}: {reason}") from error

    return StreamConnector(connect, f"com:ipport={port},port={host}", reconnect)


def open_unix(path: Path) -> socket.socket:
    """A connected Unix stream socket; TargetGone when nobody listens at `path`."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(str(path))
    except OSError as error:
        sock.close()
        raise TargetGone(f"nothing listens at {path}: {error.strerror or error}") from error
    return sock


def bind_unix(path: Path) -> socket.socket:
    """A bound Unix stream socket; see `unix_listen`."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise TargetError(f"{path} exists and is not a socket")
        try:
            open_unix(path).close()
        except TargetGone:
            path.unlink(missing_ok=True)
        else:
            raise TargetError(f"{path} is in use by another target")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
    except OSError as error:
        sock.close()
        raise TargetError(f"cannot listen at {path}: {error.strerror or error}") from error
    return sock
