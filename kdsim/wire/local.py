"""Local kernel debugging (`kd -kl`): manipulate messages over a Unix socket, one frame each.

A frame is a 32-bit length and a manipulate message. A running machine serves `NAME.sock` in the
user's runtime directory; the debugger looks there.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from struct import Struct

from kdsim.errors import ProtocolError, TargetError, TargetGone, UserError
from kdsim.wire.interrupts import Interrupts
from kdsim.wire.links import bind_unix, open_unix
from kdsim.wire.manipulate import HEADER_SIZE, Manipulate

LENGTH = Struct("<I")
MAX_FRAME = 0x10000 + HEADER_SIZE
DATA_LIMIT = MAX_FRAME - HEADER_SIZE
TIMEOUT = 10.0
"""Seconds a running machine may take to answer; it looks between two slices."""


def encode_frame(message: Manipulate) -> bytes:
    data = message.pack()
    if len(data) > MAX_FRAME:
        raise ProtocolError(f"local message of {len(data)} bytes, at most {MAX_FRAME}")
    return LENGTH.pack(len(data)) + data


class FrameReader:
    """Cuts a byte stream into manipulate messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Manipulate]:
        """The messages `data` completes.

        Raises:
            ProtocolError: a length no message has; the stream cannot be used any further.
        """
        self._buffer += data
        messages = []
        while len(self._buffer) >= LENGTH.size:
            (size,) = LENGTH.unpack_from(self._buffer)
            if not HEADER_SIZE <= size <= MAX_FRAME:
                raise ProtocolError(f"local message of {size} bytes", bytes(self._buffer[:64]))
            end = LENGTH.size + size
            if len(self._buffer) < end:
                break
            messages.append(Manipulate.unpack(bytes(self._buffer[LENGTH.size : end])))
            del self._buffer[:end]
        return messages


def runtime_directory() -> Path:
    """The user's own directory for machine sockets, created when missing.

    Raises:
        TargetError: somebody else owns it.
    """
    own = os.environ.get("XDG_RUNTIME_DIR")
    shared = Path(os.environ.get("TMPDIR", "/tmp")) / f"kdsim-{os.getuid()}"
    path = Path(own) / "kdsim" if own else shared
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise TargetError(f"{path} must be a directory that only you can use")
    return path


def socket_path(name: str) -> Path:
    """Where the machine `name` listens.

    Raises:
        UserError: not a name.
    """
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise UserError(f"'{name}' is not a machine's name")
    return runtime_directory() / f"{name}.sock"


def running_machines() -> list[str]:
    """Names of this user's running machines, sorted."""
    names = []
    for path in sorted(runtime_directory().glob("*.sock"), key=lambda path: path.stem):
        with contextlib.suppress(TargetGone):
            open_unix(path).close()
            names.append(path.stem)
    return names


class _Client:
    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.reader = FrameReader()
        self.unsent = bytearray()


class LocalServer:
    """A machine's end, served from its own thread: register with `TargetConnection.watch`.

    Args:
        name: the machine's name; `name-2` and so on when it is taken.
        handler: answers one request.
    """

    def __init__(self, name: str, handler: Callable[[Manipulate], Manipulate]) -> None:
        self.name, self._listener = _bind(name)
        self._path = socket_path(self.name)
        self._handler = handler
        self._selector = selectors.DefaultSelector()
        self._clients: set[_Client] = set()
        self._listener.listen(4)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)

    def fileno(self) -> int:
        """Readable when `service` has something to do (the selector's own descriptor)."""
        return self._selector.fileno()

    def wait(self, timeout: float | None) -> None:
        """Sleep until there is something to do, then do it."""
        if self._selector.select(timeout):
            self.service()

    def service(self) -> None:
        """Answer what has come. Never sleeps."""
        for key, events in self._selector.select(0):
            if key.data is None:
                self._accept()
            else:
                self._serve(key.data, events)

    def close(self) -> None:
        for client in list(self._clients):
            self._drop(client)
        self._selector.close()
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            sock, _ = self._listener.accept()
            sock.setblocking(False)
            client = _Client(sock)
            self._clients.add(client)
            self._selector.register(sock, selectors.EVENT_READ, client)

    def _serve(self, client: _Client, events: int) -> None:
        try:
            if events & selectors.EVENT_READ:
                data = client.socket.recv(MAX_FRAME)
                if not data:
                    self._drop(client)
                    return
                for message in client.reader.feed(data):
                    client.unsent += encode_frame(self._handler(message))
            self._flush(client)
        except BlockingIOError:
            return
        except (OSError, ProtocolError):
            self._drop(client)

    def _flush(self, client: _Client) -> None:
        if client.unsent:
            with contextlib.suppress(BlockingIOError):
                del client.unsent[: client.socket.send(client.unsent)]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.unsent else 0)
        self._selector.modify(client.socket, wanted, client)

    def _drop(self, client: _Client) -> None:
        self._selector.unregister(client.socket)
        self._clients.discard(client)
        client.socket.close()


def _bind(name: str) -> tuple[str, socket.socket]:
    """A bound socket under `name`, or under the first free `name-2`, `name-3` ..."""
    candidate, number = name, 1
    while True:
        path = socket_path(candidate)
        try:
            return candidate, bind_unix(path)
        except TargetError:
            if candidate not in running_machines():
                raise
        number += 1
        candidate = f"{name}-{number}"


class LocalClient:
    """A debugger's end; requests block, Ctrl+C leaves them unharmed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._socket = open_unix(socket_path(name))
        self._socket.settimeout(TIMEOUT)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._reader = FrameReader()
        self._interrupts = Interrupts()

    def request(self, message: Manipulate) -> Manipulate:
        """The machine's reply.

        Raises:
            TargetGone: the machine ended or does not answer.
        """
        try:
            with self._interrupts:
                self._socket.sendall(encode_frame(message))
                while True:
                    for reply in self._reader.feed(self._receive()):
                        # The answer to an interrupted request may still come first.
                        if reply.answers(message):
                            return reply
        except OSError as error:
            raise TargetGone(f"the machine '{self.name}' has ended: {error.strerror}") from error

    def _receive(self) -> bytes:
        with self._interrupts.sleeping:
            ready = self._poll.poll(TIMEOUT * 1000)
        if not ready:
            raise TargetGone(f"the machine '{self.name}' does not answer")
        data = self._socket.recv(MAX_FRAME)
        if not data:
            raise TargetGone(f"the machine '{self.name}' has ended")
        return data

    def close(self) -> None:
        self._socket.close()


def connect_local(name: str | None = None) -> LocalClient:
    """Connect to the machine `name`, or to the only one that runs.

    Raises:
        TargetGone: it does not run, or none does.
        UserError: several run and none was named.
    """
    names = running_machines()
    if name is not None:
        if name not in names:
            others = f" (running: {', '.join(names)})" if names else ""
            raise TargetGone(f"no machine named '{name}' runs here{others}")
        return LocalClient(name)
    if not names:
        raise TargetGone("no machine runs here; start one with `kdsim target` or `kdsim`")
    if len(names) > 1:
        raise UserError(f"several machines run here, choose one with --machine: {', '.join(names)}")
    return LocalClient(names[0])
