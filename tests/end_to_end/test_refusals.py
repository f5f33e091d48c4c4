"""Ways to reach no target: one clear line and the right exit status."""

from __future__ import annotations

import socket

import pytest

from tests.end_to_end.processes import KEY, Computer
from tests.ports import free_tcp_port, free_udp_port


def test_wrong_key(computer: Computer) -> None:
    port = free_udp_port()
    with computer.target("--port", str(port), "--key", KEY):
        done = computer.kd("-k", f"net:port={port},key=4.3.2.1", "--timeout", "1.5", "-c", "q")
    assert done.returncode == 3
    assert done.stderr == (
        f"kdsim: no target answered on net:port={port}; "
        "datagrams came that were sealed with another key\n"
    )


def test_no_target(computer: Computer) -> None:
    port = free_udp_port()
    done = computer.kd("-k", f"net:port={port},key={KEY}", "--timeout", "0.2", "-c", "q")
    assert done.returncode == 3
    assert done.stderr == f"kdsim: no target answered on net:port={port}\n"


def test_control_c_ends_the_wait(computer: Computer) -> None:
    kd = computer.kdsim("kd", "-k", f"net:port={free_udp_port()},key={KEY}")
    kd.until("Waiting to reconnect...")
    kd.interrupt()
    assert kd.end() == 3
    assert kd.errors == "kdsim: interrupted before the target answered\n"


def test_udp_port_in_use(computer: Computer) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 0))
        port = taken.getsockname()[1]
        done = computer.kd("-k", f"net:port={port},key={KEY}", "-c", "q")
    assert done.returncode == 3
    assert done.stderr.startswith(f"kdsim: UDP port {port} is in use")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_place_of_a_target_in_use(computer: Computer, kind: str) -> None:
    place = str(computer.folder / "com1") if kind == "unix" else str(free_tcp_port())
    with computer.target("--com", f"{kind}:{place}"):
        second = computer.kdsim("target", "lab", "--com", f"{kind}:{place}")
        assert second.end() == 3
    assert second.errors.count("\n") == 1
    assert "in use" in second.errors


def test_nobody_listens_on_kdcom(computer: Computer) -> None:
    path = computer.folder / "nothing"
    over_pipe = computer.kd("-k", f"com:pipe,port={path}", "-c", "q")
    over_tcp = computer.kd("-k", f"com:ipport={free_tcp_port()},port=127.0.0.1", "-c", "q")
    for done in (over_pipe, over_tcp):
        assert done.returncode == 3
        assert done.stderr.startswith("kdsim: nothing listens at ")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["nosuch"], "no machine named 'nosuch'", id="machine"),
        pytest.param(["broken.toml"], "broken.toml: not TOML", id="damaged toml"),
        pytest.param(["lab", "--port", "1"], "KDNET needs --port and --key", id="no key"),
        pytest.param(
            ["lab", "--port", "1", "--key", KEY, "--kdnet-version", "3"],
            "KDNET version 3 is not one of 2, 4, 5",
            id="version",
        ),
        pytest.param(["lab", "--com", "usb:1"], "neither unix:PATH nor tcp:PORT", id="cable"),
        pytest.param(["lab", "--ram", "1K"], "--ram: expected a size", id="ram"),
        pytest.param(["lab", "--cpus", "0"], "--cpus: expected a whole number", id="cpus"),
        pytest.param(
            ["lab", "--port", "1", "--key", "1.2.3.4", "--com", "tcp:1"], "exclude", id="both"
        ),
    ],
)
def test_targets_that_cannot_be_made(
    computer: Computer, arguments: list[str], message: str
) -> None:
    if arguments[0].endswith(".toml"):
        path = computer.folder / arguments[0]
        path.write_text("name = ", encoding="utf-8")
        arguments = [str(path)]
    target = computer.kdsim("target", *arguments)
    assert target.end() == 2
    assert message in target.errors
    assert target.errors.count("\n") == 1
    assert target.output == ""
