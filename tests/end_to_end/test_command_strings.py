"""A driver of the target asks the debugger to run a command: two programs, and what comes of it."""

from __future__ import annotations

import pytest

from tests.end_to_end.processes import KEY, Computer
from tests.labs import lasting_lab
from tests.ports import free_udp_port

# The kernel executes `int 2Dh` for the service DebugService COMMAND_STRING, whose two arguments are
# counted strings, and returns to the int 3 of the initial break.
ASK = """\
ea @rsp-400 "leaky"
ea @rsp-300 "{command}"
ew @rsp-480 5 6 0 0
eq @rsp-478 @rsp-400
ew @rsp-460 0n{length} 100 0 0
eq @rsp-458 @rsp-300
eq @rsp-600 @rip
r $t1 = @rsp
r $t0 = nt!DebugService2
.while (wo(@$t0) != 2dcd) {{ r $t0 = @$t0 + 1 }}
r rax = 5; r rcx = @rsp-480; r rdx = @rsp-460; r rip = @$t0; r rsp = @rsp-600
.echo asked
g
.echo back
r rsp = @$t1
!process 0 0 System
"""


def asked(computer: Computer, command: str) -> str:
    """What kd prints when the target has asked for `command`, until the target stops again."""
    script = computer.folder / "ask.txt"
    script.write_text(ASK.format(command=command, length=len(command)), encoding="utf-8")
    port = free_udp_port()
    way = ("--port", str(port), "--key", KEY, "--wait", "--seed", "1")
    with computer.target(*way, lab=lasting_lab(computer.folder)) as target:
        transport = f"net:port={port},key={KEY}"
        done = computer.kd("-k", transport, "-cf", str(script), "-c", ".lastevent; qd")
        # It runs on, and another debugger finds it well.
        again = computer.kd("-k", transport, "-b", "-c", ".echo well; qd")
    assert "\nwell\n" in again.stdout
    assert done.stderr + again.stderr + target.errors == ""
    assert "Image: System" in done.stdout.partition("\nback\n")[2]
    assert "Last event: Break instruction exception - code 80000003" in done.stdout
    between = done.stdout.partition("\nasked\n")[2].partition("Break instruction exception")[0]
    _, _, told = between.partition(f"Target command '{command}'\n")
    assert told, done.stdout
    return told


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        pytest.param(
            ".echo one; ? 2+2", "one\nEvaluate expression: 4 = 00000000`00000004\n", id="runs"
        ),
        pytest.param(".echo one; g; .echo two", "one\n", id="goes on by itself"),
        pytest.param("nosuch", "Unknown command 'nosuch'\n", id="a mistake"),
    ],
)
def test_it_is_run_and_the_target_goes_on(computer: Computer, command: str, printed: str) -> None:
    assert printed in asked(computer, command)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        pytest.param(".shell", ".shell touch {path}", id="shell"),
        pytest.param(".writemem", ".writemem {path} nt L10", id="writemem"),
        pytest.param("as", "as k .shell touch {path}", id="kept for later"),
    ],
)
def test_what_reaches_this_computer_is_refused(computer: Computer, name: str, command: str) -> None:
    path = computer.folder / "made"
    told = asked(computer, command.format(path=path))
    assert f"'{name}' is refused to a target" in told
    assert not path.exists()
