"""`kdsim target --pcap` and `kdsim wire`: a session recorded and told."""

from __future__ import annotations

import subprocess

import pytest

from tests.end_to_end.processes import KEY, Computer
from tests.ports import free_udp_port


def wire(computer: Computer, *arguments: str) -> subprocess.CompletedProcess[str]:
    process = computer.kdsim("wire", *arguments)
    status = process.end()
    return subprocess.CompletedProcess(arguments, status, process.output, process.errors)


@pytest.mark.parametrize("kind", ["net", "com"])
def test_session_recorded_and_told(computer: Computer, kind: str) -> None:
    capture = computer.folder / "session.pcap"
    port, line = free_udp_port(), computer.folder / "line"
    if kind == "net":
        way = ["--port", str(port), "--key", KEY]
        transport = f"net:port={port},key={KEY}"
    else:
        way = ["--com", f"unix:{line}"]
        transport = f"com:pipe,port={line},reconnect"
    with computer.target("--seed", "1", "--wait", "--pcap", str(capture), *way):
        done = computer.kd("-k", transport, "-c", "ed nt!PoolHitTag 12345678; q")
        assert done.returncode == 0
    told = wire(computer, str(capture), "--key", KEY, "--data")
    assert told.returncode == 0
    assert "STATE_CHANGE64 exception id" in told.stdout
    assert "GET_VERSION reply id" in told.stdout
    assert "WRITE_VIRTUAL request id" in told.stdout
    assert "0000  78 56 34 12" in told.stdout
    assert ", 0 not\n" in told.stderr if kind == "net" else told.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        pytest.param(["wire", "nosuch.pcap"], 2, "No such file", id="no file"),
        pytest.param(["wire", __file__], 1, "neither as pcap nor as pcapng", id="no capture"),
        pytest.param(["wire", __file__, "--key", "1.2"], 2, "needs four parts", id="no key"),
        pytest.param(["target", "--pcap", "x"], 2, "--pcap records a wire", id="no wire"),
        pytest.param(
            ["target", "--pcap", "no/x", "--port", "5", "--key", KEY], 2, "cannot write", id="path"
        ),
    ],
)
def test_mistakes(computer: Computer, arguments: list[str], status: int, message: str) -> None:
    process = computer.kdsim(*arguments)
    assert process.end() == status
    assert message in process.errors
    assert len(process.errors.splitlines()) == 1
