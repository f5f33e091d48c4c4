"""Strangers on the wire of a live target and a live debugger: counted, and without effect."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Iterator

from tests.end_to_end.processes import KEY, Computer, Process
from tests.ports import free_udp_port
from tests.wire.network import Faults
from tests.wire.relay import Relay

WHERE = "127.0.0.1"
SIZES = (0, 1, 5, 6, 21, 22, 37, 38, 39, 54, 374, 1472, 1473, 4054, 4055, 4070, 9000, 65507)
FOREIGN = "sealed with another key, forged or damaged"
MALFORMED = "too short, too long or cut off"
REFLECTED = "one of our own kind"
REPLAYED = "not newer than what came before"
STRAY = "of no session that goes on: of an earlier one, forged or damaged"
LINE = re.compile(r"^ +(\d+)  (.+)$", re.MULTILINE)


def noise() -> Iterator[bytes]:
    """Of both channels and all sizes."""
    for size in SIZES:
        for channel in (b"\0", b"\1"):
            yield (b"MDBG\4" + channel).ljust(size, b"\xa5")[:size]


def target(computer: Computer, port: int) -> Process:
    process = computer.kdsim(
        *("target", "lab", "--host", WHERE, "--port", str(port), "--key", KEY, "--seed", "1")
    )
    process.until("attach: ")
    return process


def kd(computer: Computer, port: int, *arguments: str) -> Process:
    return computer.kdsim("kd", "-k", f"net:port={port},key={KEY}", *arguments)


def test_a_target_tells_each_kind_once_and_goes_on(computer: Computer) -> None:
    """At the place of its debugger sits somebody who has not the key."""
    port = free_udp_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind((WHERE, port))
        process = target(computer, port)
        poke, place = stranger.recvfrom(65536)
        for data in (*noise(), poke, *noise(), poke):
            stranger.sendto(data, place)
        for kind in (MALFORMED, FOREIGN, REFLECTED):
            process.until(f"lab: a datagram was dropped, and more may be: {kind}\n", stream="err")
    debugger = kd(computer, port, "-b", "-c", "!process 0 0 System; qd")
    assert debugger.end() == 0
    assert "Image: System" in debugger.output
    process.terminate()
    assert process.end() == 0
    assert process.errors.count("a datagram was dropped") == 3
    assert KEY not in process.errors


def test_a_target_wonders_why_nobody_answers(computer: Computer) -> None:
    """A debugger with another key is there, so that no port is reported as closed."""
    port = free_udp_port()
    stranger = computer.kdsim("kd", "-k", f"net:port={port},key=9.9.9.9")
    stranger.until("Waiting to reconnect...")
    process = target(computer, port)
    process.until(
        f"lab: no answer from net:{WHERE}:{port}; the debugger may have another key\n", stream="err"
    )
    stranger.until("Datagrams come that are sealed with another key\n")
    process.terminate()
    assert process.end() == 0
    assert process.errors.count("no answer") == 1
    assert stranger.output.count("another key") == 1


class Recorder(Faults):
    """Loses nothing, and keeps everything."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[bytes] = []

    def deliveries(self, data: bytes) -> Iterator[tuple[float, bytes]]:
        self.kept.append(data)
        yield 0.0, data


def batched(pieces: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Few enough at once for the buffer of a socket."""
    left = list(pieces)
    while left:
        yield left[:4]
        del left[:4]


def counts(text: str) -> dict[str, int]:
    """What the last `.kdwire` says of drops."""
    dropped = text.rpartition("\nDropped      : ")[2].partition("\n")[2]
    return {what: int(count) for count, what in LINE.findall(dropped)}


def test_a_debugger_counts_them_and_keeps_its_session(computer: Computer) -> None:
    port, recorder = free_udp_port(), Recorder()
    with Relay(port, recorder) as relay:
        process = target(computer, relay.port)
        debugger = kd(computer, port, "-b")
        debugger.type("!process 0 0 System; .echo one")
        place = debugger.until("\none\n")
        said = [*recorder.kept]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for number, batch in enumerate(batched((*said, *noise()))):
                for data in batch:
                    stranger.sendto(data, (WHERE, port))
                debugger.type(f".kdwire; .echo batch {number}.")
                place = debugger.until(f"\nbatch {number}.\n", after=place)
        debugger.type(".cache flushall; !process 0 0 System; .kdwire; .echo two")
        debugger.until("\ntwo\n", after=place)
        debugger.type("qd")
        assert debugger.end() == 0
        process.terminate()
        assert process.end() == 0
    text = debugger.output[place:]
    assert "Sessions     : 1\n" in text
    assert "Image: System" in text
    found = counts(text)
    assert found[MALFORMED] == sum(1 for data in noise() if not fits(len(data)))
    sealed = sum(1 for data in noise() if fits(len(data)))
    assert found[FOREIGN] == found[STRAY] == sealed // 2
    assert found[REFLECTED] + found[REPLAYED] <= len(said)
    assert min(found[REFLECTED], found[REPLAYED]) > 10
    assert KEY not in text
    assert "dropped" not in process.errors


def fits(size: int) -> bool:
    """Whether a datagram can be so long."""
    return 38 <= size <= 4054 and (size - 22) % 16 == 0


def test_a_stream_has_no_datagrams(computer: Computer) -> None:
    path = computer.folder / "com1"
    with computer.target("--com", f"unix:{path}"):
        done = computer.kd("-k", f"com:pipe,port={path}", "-b", "-c", ".kdwire; qd")
    assert re.search(r"^Packets      : \d+ received, \d+ sent$", done.stdout, re.MULTILINE)
    assert "KDNET" not in done.stdout
    assert "Dropped      : 0\n" in done.stdout
