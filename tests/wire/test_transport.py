"""Connection strings, and the errors of opening what they name."""

from pathlib import Path

import pytest

from kdsim.errors import TargetError, TargetGone, UserError
from kdsim.wire import links
from kdsim.wire.transport import (
    NetTransport,
    PipeTransport,
    SerialTransport,
    TcpTransport,
    open_host,
    open_target_com,
    open_target_net,
    parse_com_listener,
    parse_transport,
)


@pytest.mark.parametrize(
    ("text", "transport"),
    [
        ("net:port=50000,key=1.2.3.4", NetTransport(50000, "1.2.3.4")),
        ("net:key=1.2.3.4,port=50000,target=pc", NetTransport(50000, "1.2.3.4", "pc")),
        ("net:PORT=0,Key=A.b.C.d", NetTransport(0, "A.b.C.d")),
        ("com:pipe,port=/tmp/kd", PipeTransport(Path("/tmp/kd"))),
        ("com:pipe,port=/tmp/kd,resets=0,reconnect", PipeTransport(Path("/tmp/kd"), True)),
        ("com:port=/tmp/kd,baud=115200,pipe", PipeTransport(Path("/tmp/kd"))),
        ("com:port=/dev/ttyS0,baud=115200", SerialTransport(Path("/dev/ttyS0"))),
        ("com:ipport=5000,port=box", TcpTransport("box", 5000)),
        ("com:ipport=5000,port=10.0.0.1,reconnect", TcpTransport("10.0.0.1", 5000, True)),
    ],
)
def test_parse_transport(text, transport):
    assert parse_transport(text) == transport


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "neither net:port=N,key=K nor com:"),
        ("net", "neither"),
        ("usb2:targetname=x", "neither"),
        ("net:", "lacks key="),
        ("net:port=50000", "lacks key="),
        ("net:key=1.2.3.4", "lacks port="),
        ("net:port=50000,key=1.2.3", "needs four parts"),
        ("net:port=65536,key=1.2.3.4", "port '65536' is not a number"),
        ("net:port=-1,key=1.2.3.4", "port '-1' is not a number"),
        ("net:port=x,key=1.2.3.4", "port 'x' is not a number"),
        ("net:port=²,key=1.2.3.4", "is not a number"),
        ("net:port=1,key=1.2.3.4,speed=9", "'speed' is not known"),
        ("net:port=1,port=2,key=1.2.3.4", "'port' stands twice"),
        ("net:port,key=1.2.3.4", "'port' is malformed"),
        ("net:port=,key=1.2.3.4", "'port=' is malformed"),
        ("com:pipe=1,port=/tmp/x", "'pipe=1' is malformed"),
        ("com:pipe", "lacks port="),
        ("com:ipport=0,port=box", "port '0' is not a number from 1"),
    ],
)
def test_bad_transport(text, complaint):
    with pytest.raises(UserError, match=complaint.replace("(", r"\(")):
        parse_transport(text)


@pytest.mark.parametrize(
    ("text", "transport"),
    [
        ("unix:/tmp/kd", PipeTransport(Path("/tmp/kd"))),
        ("unix:~/kd", PipeTransport(Path("~/kd").expanduser())),
        ("tcp:5000", TcpTransport("127.0.0.1", 5000)),
        ("tcp:[::1]:5000", TcpTransport("::1", 5000)),
        ("pty", SerialTransport()),
        ("tcp:0.0.0.0:5000", TcpTransport("0.0.0.0", 5000)),
    ],
)
def test_parse_com_listener(text, transport):
    assert parse_com_listener(text) == transport


@pytest.mark.parametrize(
    "text", ["", "unix:", "tcp:", "tcp:x", "tcp:0", "pipe:/tmp/kd", "/tmp/kd", "pty:x"]
)
def test_bad_com_listener(text):
    with pytest.raises(UserError):
        parse_com_listener(text)


def test_tcp_port_in_use():
    first = links.tcp_listen(0)
    port = first.local[1]
    with pytest.raises(TargetError, match=f"TCP port {port} is in use"):
        open_target_com(TcpTransport("127.0.0.1", port))
    first.close()


def test_unix_path_in_use_and_left_behind(tmp_path):
    path = tmp_path / "kd"
    first = open_target_com(PipeTransport(path))
    with pytest.raises(TargetError, match="is in use by another target"):
        open_target_com(PipeTransport(path))
    first.link._listener.close()
    assert path.exists(), "what a killed target leaves behind"
    open_target_com(PipeTransport(path)).close()
    assert not path.exists()


def test_unix_path_that_is_a_file(tmp_path):
    path = tmp_path / "kd"
    path.write_text("precious")
    with pytest.raises(TargetError, match="exists and is not a socket"):
        open_target_com(PipeTransport(path))
    assert path.read_text() == "precious"


def test_unix_path_in_no_directory(tmp_path):
    with pytest.raises(TargetError, match="cannot listen at"):
        open_target_com(PipeTransport(tmp_path / "no" / "kd"))


def test_unknown_hosts():
    with pytest.raises(TargetError, match=r"host 'no\.such\.invalid' is unknown"):
        open_target_net("no.such.invalid", 50000, "1.2.3.4")
    with pytest.raises(TargetGone, match=r"nothing listens at no\.such\.invalid"):
        open_host(TcpTransport("no.such.invalid", 5000))


def test_a_target_sends_from_the_port_it_sends_to():
    """As Windows does. Only on the debugger's own address is that port taken."""
    debugger = links.udp_listen(0, "127.0.0.2")
    port = debugger.local[1]
    target = links.udp_connect(("127.0.0.2", port))
    second = links.udp_connect(("127.0.0.2", port))
    beside = links.udp_connect(("127.0.0.1", port))
    assert target.local == ("127.0.0.1", port)
    assert port not in (second.local[1], beside.local[1])
    for link in (debugger, target, second, beside):
        link.close()


class RecordingLink:
    local = ("127.0.0.1", 50000)

    def __init__(self):
        self.sent = []

    def send(self, pieces, to):
        self.sent += [(len(data), to) for data in pieces]


def test_target_option_knocks(monkeypatch):
    """`target=` makes the target poke at once, without waiting for its next turn."""
    link = RecordingLink()
    monkeypatch.setattr(links, "udp_listen", lambda port, address: link)
    open_host(NetTransport(50000, "1.2.3.4", "127.0.0.1"))
    assert link.sent == [(38, ("127.0.0.1", 50000))]


def test_a_stream_keeps_what_cannot_be_sent_at_once(tmp_path):
    listener = links.unix_listen(tmp_path / "kd")
    connector = links.unix_connect(tmp_path / "kd")
    assert listener.wait(5)
    assert listener.receive() == [links.LinkUp()]
    data = bytes(range(256)) * 20000
    listener.send([data[:100], data[100:150]])
    listener.send([data[150:]])
    received = bytearray()
    while len(received) < len(data):
        listener.receive()
        for arrival in connector.receive():
            if isinstance(arrival, links.Data):
                received += arrival.data
    assert received == data
    connector.close()
    listener.close()
