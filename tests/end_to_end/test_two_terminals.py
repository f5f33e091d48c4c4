"""`kdsim target` and `kdsim kd` as two programs, over every kind of cable, either started first."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.end_to_end.processes import KEY, Computer
from tests.ports import free_tcp_port, free_udp_port


class Cable(NamedTuple):
    """How the target is told to connect, and how the debugger is."""

    target: tuple[str, ...]
    debugger: str


def net(computer: Computer) -> Cable:
    port = free_udp_port()
    where = ("--host", "127.0.0.1", "--port", str(port), "--key", KEY)
    return Cable(where, f"net:port={port},key={KEY}")


def unix(computer: Computer) -> Cable:
    path = computer.folder / "com1"
    return Cable(("--com", f"unix:{path}"), f"com:pipe,port={path}")


def tcp(computer: Computer) -> Cable:
    port = free_tcp_port()
    return Cable(("--com", f"tcp:{port}"), f"com:ipport={port},port=127.0.0.1")


CABLES = pytest.mark.parametrize("lay", [net, unix, tcp])


@CABLES
def test_q_leaves_the_target_halted_and_qd_lets_it_run(
    computer: Computer, lay: Callable[[Computer], Cable]
) -> None:
    cable = lay(computer)
    with computer.target(*cable.target):
        first = computer.kd("-k", cable.debugger, "-b", "-c", "eq nt!PoolHitTag 0; .time; q")
        second = computer.kd("-k", cable.debugger, "-c", ".time; qd")
        third = computer.kd("-k", cable.debugger, "-b", "-c", ".time; q")
    assert [done.returncode for done in (first, second, third)] == [0, 0, 0]
    assert [done.stderr for done in (first, second, third)] == ["", "", ""]
    assert "You are seeing this message" in first.stdout
    assert _uptime(first.stdout) == _uptime(second.stdout)
    assert _uptime(second.stdout) < _uptime(third.stdout)


def _uptime(text: str) -> str:
    return re.findall(r"System Uptime: (.+)", text)[-1]


@CABLES
def test_control_c_breaks_in_and_g_goes_on(
    computer: Computer, lay: Callable[[Computer], Cable]
) -> None:
    cable = lay(computer)
    with computer.target(*cable.target):
        kd = computer.kdsim("kd", "-k", cable.debugger)
        kd.until("Connected to target")
        kd.interrupt()
        stopped = kd.until("nt!DbgBreakPointWithStatus:")
        kd.type("bp leaky!LeakyReceive; g; k")
        stopped = kd.until("Breakpoint 0 hit\nleaky!LeakyReceive:", after=stopped)
        kd.until("nt!KiStartSystemThread", after=stopped)
        kd.type("bc *; qd")
        assert kd.end() == 0
        assert kd.errors == ""


@pytest.mark.parametrize("version", [2, 4, 5])
def test_each_version_of_kdnet(computer: Computer, version: int) -> None:
    cable = net(computer)
    with computer.target(*cable.target, "--kdnet-version", str(version)):
        done = computer.kd("-k", cable.debugger, "-b", "-c", "!process 0 0 System; .kdwire; qd")
    assert done.returncode == 0
    assert "Image: System" in done.stdout
    assert f"KDNET version: {version}\n" in done.stdout
    assert "another key" not in done.stdout


@CABLES
def test_the_debugger_may_come_first(computer: Computer, lay: Callable[[Computer], Cable]) -> None:
    cable = lay(computer)
    transport = cable.debugger + (",reconnect" if lay is not net else "")
    kd = computer.kdsim("kd", "-k", transport, "-b", "-c", "lm; q")
    kd.until("Waiting to reconnect...")
    with computer.target(*cable.target):
        assert kd.end() == 0
    assert "nt         (" in kd.output


@pytest.mark.parametrize("lay", [net, unix])
def test_a_waiting_target_stops_at_the_end_of_boot(
    computer: Computer, lay: Callable[[Computer], Cable]
) -> None:
    cable = lay(computer)
    with computer.target(*cable.target, "--wait", "--seed", "5"):
        done = computer.kd("-k", cable.debugger, "-c", "lm1m; q")
    assert done.stdout.endswith("\nnt\nhal\ntidy\npulse\npulseflt\nmonitor\n")


@CABLES
def test_a_target_that_dies(computer: Computer, lay: Callable[[Computer], Cable]) -> None:
    cable = lay(computer)
    with computer.target(*cable.target) as target:
        kd = computer.kdsim("kd", "-k", cable.debugger, "-b", "--timeout", "3")
        kd.type(".echo here")
        halted = kd.until("\nhere\n")
        target.terminate()
        target.end()
        kd.type("g; .echo never")
        status = kd.end()
    typed, *said = kd.output[halted:].splitlines()
    assert typed.endswith(": kd> g; .echo never")
    assert said in (
        ["the target closed the connection"],
        [f"the target on {cable.debugger.partition(',key')[0]} does not answer"],
    )
    assert kd.errors == ""
    assert status == 3
