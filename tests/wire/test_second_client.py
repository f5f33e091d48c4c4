"""Our target under a client that nobody here adapted it to; see `second_client`."""

import struct
from contextlib import closing

import pytest

from kdsim.wire import links
from kdsim.wire.kdnet import KdnetTarget
from kdsim.wire.target_connection import TargetConnection
from tests.labs import calm_lab
from tests.ports import free_tcp_port, free_udp_port
from tests.target.process import TargetProcess
from tests.wire.fake_target import BASE, VERSION, FakeTarget
from tests.wire.second_client import (
    ACK,
    CONTROL,
    GET_VERSION,
    READ_CONTROL,
    RESEND,
    RESET,
    WRITE_BREAKPOINT,
    ComLine,
    Habits,
    NetLine,
    SecondClient,
    pack,
)

KEY = "8.8.8.8"
BREAKPOINT, SINGLE_STEP = 0x80000003, 0x80000004
WAYS = ("net", "unix", "tcp", "pty")
HABITS = {
    "garbage": Habits(garbage=0xDEADBEEF),
    "rizin": Habits(toggles=True, acks_all=True, confuses=True, resends=False),
    "early": Habits(early=True),
}
SESSIONS = [
    pytest.param(way, habits, id=f"{way}-{name}")
    for way in WAYS
    for name, habits in HABITS.items()
    # Rizin opens sockets only.
    if way != "pty" or not habits.confuses
]


class Machine:
    """A real one in a process of its own, and the clients that come to it."""

    def __init__(self, folder, way):
        self.folder, self.way = folder, way
        self.port = free_udp_port() if way == "net" else free_tcp_port()
        place = {
            "net": ("--port", str(self.port)),
            "unix": ("--com", f"unix:{folder}/kd"),
            "tcp": ("--com", f"tcp:{self.port}"),
            "pty": ("--com", "pty"),
        }[way]
        self.process = TargetProcess(folder, calm_lab(folder), *place, key=KEY)
        self.line = self.process.banner().strip().rpartition("=")[2]

    def client(self, habits):
        if self.way == "net":
            return SecondClient(NetLine(self.port, KEY, habits), habits)
        line = {
            "unix": lambda: ComLine.unix(self.folder / "kd"),
            "tcp": lambda: ComLine.tcp(self.port),
            "pty": lambda: ComLine.serial(self.line),
        }
        return SecondClient(line[self.way](), habits)


@pytest.fixture(scope="module", params=WAYS)
def machine(request, tmp_path_factory):
    machine = Machine(tmp_path_factory.mktemp("second"), request.param)
    with machine.process:
        yield machine
        assert machine.process.stop() == (0, "")


@pytest.mark.parametrize(("machine", "habits"), SESSIONS, indirect=["machine"])
def test_a_session_and_the_one_after_it(machine, habits):
    """The second is a restart in the middle of the first, which never said that it leaves."""
    for _ in range(2):
        client = machine.client(habits)
        with closing(client.line):
            stop = client.attach()
            client.processor = stop.processor
            assert (stop.state, stop.code) in ((0x3030, BREAKPOINT), (0x3030, SINGLE_STEP))
            major, minor, protocol, _, flags, machine_type = struct.unpack_from(
                "<HHBBHH", (version := client.ask(GET_VERSION)).union
            )
            assert (version.status, major, minor, protocol) == (0, 15, 19041, 6)
            assert (flags & 6, machine_type) == (6, 0x8664)
            (base,) = struct.unpack_from("<Q", version.union, 16)
            assert client.read(base, 2) == b"MZ"
            assert 1096 <= len(client.read(base, 4000)) <= 4000
            assert client.read(0xDEAD, 8) == b""
            special = client.ask(READ_CONTROL, struct.pack("<QI", 2, 224), processor=stop.processor)
            assert (special.status, len(special.data)) == (0, 224)
            assert client.reset() == stop
            stepped = client.step()
            assert (stepped.code, stepped.processor) == (SINGLE_STEP, stop.processor)
            assert stepped.pc != stop.pc
            assert client.ask(WRITE_BREAKPOINT, struct.pack("<Q", stepped.pc)).status == 0
            assert client.repeated <= client.resends


def test_break_in_and_go(machine):
    client = machine.client(Habits(garbage=1))
    with closing(client.line):
        client.processor = client.attach().processor
        for _ in range(5):
            client.go()
            stop = client.break_in()
            assert stop.state == 0x3030
            client.processor = stop.processor
        client.go()


TYPES = (*range(13), 0x77, 0xFFFF)
TRACE = struct.pack("<IHHI", 0x3330, 0, 0, 4).ljust(64, b"\0") + b"data"


@pytest.mark.parametrize("payload", [b"", b"x", bytes(240), TRACE], ids=len)
def test_a_packet_of_any_type_is_acknowledged(machine, payload):
    """What a target does not expect it takes and drops; TRACE_IO (9) is one of them."""
    client = machine.client(Habits())
    with closing(client.line):
        client.processor = client.attach().processor
        (base,) = struct.unpack_from("<Q", client.ask(GET_VERSION).union, 16)
        for kind in TYPES:
            client._send(kind, payload)
            assert client.read(base, 2) == b"MZ"
        client.go()
        client.break_in()


def test_a_control_packet_of_an_unknown_type_is_ignored(machine):
    client = machine.client(Habits())
    with closing(client.line):
        client.processor = client.attach().processor
        for kind in set(TYPES) - {ACK, RESEND, RESET}:
            client.line.put(pack(CONTROL, kind, client.next_id))
            assert client.ask(GET_VERSION).status == 0
        client.go()


@pytest.mark.parametrize("version", [2, 4, 5])
def test_kdnet_versions(version):
    line = NetLine(0, KEY, Habits())
    link = links.udp_connect(("127.0.0.1", line.port))
    endpoint = KdnetTarget(KEY, ("127.0.0.1", line.port), link.local, version=version)
    with FakeTarget(TargetConnection(endpoint, link)), closing(line):
        client = SecondClient(line, Habits())
        client.attach()
        assert struct.unpack_from("<HH", client.ask(GET_VERSION).union) == VERSION[:2]
        assert client.read(BASE, 4) == bytes(range(4))
        assert line.version == version
        # Eight zero bytes and the host's address, least significant byte first.
        assert line.first_datagrams == [bytes(8) + bytes((1, 0, 0, 127))]
        assert line.target_sequences == list(range(1, len(line.target_sequences) + 1))
