"""Connection strings of both command lines, and the connections they stand for.

The debugger's are WinDbg's: `net:port=50000,key=1.2.3.4`, `com:pipe,port=PATH`,
`com:ipport=PORT,port=HOST`, `com:port=DEVICE`. The target's are `--host/--port/--key` and
`--com unix:PATH|tcp:PORT|pty`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from kdsim.errors import UserError
from kdsim.wire import links
from kdsim.wire.host_connection import HostConnection
from kdsim.wire.kdcom import KdcomHost, KdcomTarget
from kdsim.wire.kdnet import KdnetHost, KdnetTarget
from kdsim.wire.sealing import VERSION, parse_key
from kdsim.wire.target_connection import TargetConnection

if TYPE_CHECKING:
    from kdsim.wire.links import Link


class NetTransport(NamedTuple):
    """KDNET. Port 0 leaves the choice to the system; `target` is knocked at, so that it pokes."""

    port: int
    key: str
    target: str | None = None


class PipeTransport(NamedTuple):
    """KDCOM over a Unix socket."""

    path: Path
    reconnect: bool = False


class TcpTransport(NamedTuple):
    """KDCOM over TCP."""

    host: str
    port: int
    reconnect: bool = False


class SerialTransport(NamedTuple):
    """KDCOM over a terminal device; a target without a path makes a pseudo terminal."""

    path: Path | None = None
    reconnect: bool = False


Transport = NetTransport | PipeTransport | TcpTransport | SerialTransport
Listener = PipeTransport | TcpTransport | SerialTransport

_NET = {"port", "key", "target"}
_COM = {"port", "ipport", "pipe", "reconnect", "resets", "baud"}
"""`resets` and `baud` tune real serial lines; they are accepted and change nothing here."""
_SECRET = re.compile("(key=)[^,]*", re.IGNORECASE)
"""What messages do not repeat of a connection string."""
_FLAGS = {"pipe", "reconnect"}


def parse_transport(text: str) -> Transport:
    """What follows the debugger's `-k`.

    Raises:
        UserError: not a connection string; the text says which part.
    """
    kind, colon, rest = text.partition(":")
    text = _SECRET.sub(r"\1...", text)
    if kind == "net" and colon:
        options = _options(rest, _NET, text)
        key = _needed(options, "key", text)
        parse_key(key)
        port = _port(_needed(options, "port", text), lowest=0)
        return NetTransport(port, key, options.get("target"))
    if kind == "com" and colon:
        return _parse_com(_options(rest, _COM, text), text)
    raise UserError(f"connection '{text}' is neither net:port=N,key=K nor com:...")


def _parse_com(options: dict[str, str], text: str) -> Transport:
    place = _needed(options, "port", text)
    reconnect = "reconnect" in options
    if "pipe" in options:
        return PipeTransport(Path(place).expanduser(), reconnect)
    if "ipport" in options:
        return TcpTransport(place, _port(options["ipport"]), reconnect)
    return SerialTransport(Path(place).expanduser(), reconnect)


def _options(rest: str, known: set[str], text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in filter(None, rest.split(",")):
        name, equals, value = part.partition("=")
        name = name.strip().lower()
        if name not in known:
            raise UserError(f"connection '{text}': '{name}' is not known")
        if bool(equals) == (name in _FLAGS) or (equals and not value):
            shown = _SECRET.sub(r"\1...", part)
            raise UserError(f"connection '{text}': '{shown}' is malformed")
        if name in options:
            raise UserError(f"connection '{text}': '{name}' stands twice")
        options[name] = value
    return options


def _needed(options: dict[str, str], name: str, text: str) -> str:
    if name not in options:
        raise UserError(f"connection '{text}' lacks {name}=")
    return options[name]


def _port(text: str, lowest: int = 1) -> int:
    if not (text.isascii() and text.isdigit() and lowest <= int(text) < 65536):
        raise UserError(f"port '{text}' is not a number from {lowest} to 65535")
    return int(text)


def parse_com_listener(text: str) -> Listener:
    """The target's `--com`: `unix:PATH`, `tcp:PORT`, `tcp:HOST:PORT` or `pty`.

    Raises:
        UserError: none of them.
    """
    kind, _, place = text.partition(":")
    if kind == "unix" and place:
        return PipeTransport(Path(place).expanduser())
    if kind == "tcp" and place:
        host, _, port = place.rpartition(":")
        return TcpTransport(host.strip("[]") or links.LOOPBACK, _port(port))
    if text == "pty":
        return SerialTransport()
    raise UserError(f"--com '{text}' is neither unix:PATH nor tcp:PORT nor pty")


def open_host(transport: Transport) -> HostConnection:
    """A debugger's connection: listening (KDNET) or connected (KDCOM).

    Raises:
        TargetError: the port is in use.
        TargetGone: nobody listens, and the string does not say `reconnect`.
    """
    match transport:
        case NetTransport(port, key, target):
            host = KdnetHost(key)
            # A port that nobody can know beforehand is for a target of this machine.
            link = links.udp_listen(port, links.ANYWHERE if port else links.LOOPBACK)
            if target is not None:
                host.knock()
                link.send(host.outgoing(), (links.resolve(target), port))
            return HostConnection(host, link)
        case PipeTransport(path, reconnect):
            return HostConnection(KdcomHost(), links.unix_connect(path, reconnect))
        case TcpTransport(name, port, reconnect):
            return HostConnection(KdcomHost(), links.tcp_connect(name, port, reconnect))
        case SerialTransport(device, reconnect):
            from kdsim.wire.serial import serial_connect

            if device is None:
                raise UserError("a serial line needs port=DEVICE")
            return HostConnection(KdcomHost(), serial_connect(device, reconnect))


def open_target_net(
    host: str, port: int, key: str, *, version: int = VERSION, record: BinaryIO | None = None
) -> TargetConnection:
    """A target's KDNET connection to the debugger at `host`; `record` gets a capture of it."""
    link = links.udp_connect((host, port))
    peer = (links.resolve(host), port)
    endpoint = KdnetTarget(key, peer, link.local, version=version)
    if record is None:
        return TargetConnection(endpoint, link)
    from kdsim.wire.recording import RecordingLink

    return TargetConnection(endpoint, RecordingLink(link, record, link.local, peer))


def open_target_com(transport: Listener, *, record: BinaryIO | None = None) -> TargetConnection:
    """A target's KDCOM connection, listening; `record` gets a capture of it.

    Raises:
        TargetError: the place is in use.
    """
    link: Link
    if isinstance(transport, PipeTransport):
        link = links.unix_listen(transport.path)
    elif isinstance(transport, SerialTransport):
        from kdsim.wire.serial import PseudoTerminal

        link = PseudoTerminal()
    else:
        link = links.tcp_listen(transport.port, transport.host)
    if record is not None:
        from kdsim.wire.recording import RecordingLink

        link = RecordingLink(link, record)
    return TargetConnection(KdcomTarget(), link)
