"""ntoseye's SDK through a whole life on four processors: every command, steps, reboot, re-attach.

The session itself is `ntoseye_life.py`, in a process of its own, with its wire trace.
"""

import os
import re
import shutil
import socket
import subprocess
import sys

import pytest

from kdsim.resources import resource_path
from tests.target.ntoseye_life import COMMANDS, ROUTINE
from tests.target.process import TargetProcess, free_port

pytestmark = [pytest.mark.ntoseye, pytest.mark.timeout(120)]

KEY = "1.2.3.4"
TROUBLE = re.compile("stale|retransmit|resetting|timed out|checksum mismatch", re.IGNORECASE)
TRACE = re.compile(r"\[ *\d+\.\d+\]|kd: |kdnet: |reload: |    [0-9a-f]{2}( [0-9a-f]{2})+$")


@pytest.fixture(scope="module", params=["kdcom", "kdnet"])
def life(request, tmp_path_factory):
    """What the session printed, with its trace."""
    folder = tmp_path_factory.mktemp("life")
    folder.chmod(0o700)
    shutil.copytree(resource_path("targets", "images"), folder / ".ntoseye" / "symbols")
    if request.param == "kdcom":
        path = folder / "kd"
        way, attach = ("--com", f"unix:{path}"), ("kd", str(path))
    else:
        port = free_port(socket.SOCK_DGRAM)
        way, attach = ("--port", str(port)), ("kdnet", f"127.0.0.1:{port}", KEY)
    with TargetProcess(folder, "lab", "--wait", "--cpus", "4", *way, key=KEY) as target:
        target.banner()
        done = subprocess.run(
            [sys.executable, "-m", "tests.target.ntoseye_life", *attach],
            env=dict(os.environ, HOME=str(folder), NTOSEYE_KD_TRACE="1"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:]
        assert target.process.poll() is None
        assert target.stop()[0] == 0
    return done.stdout


def test_the_wire_is_clean(life):
    assert not TROUBLE.findall(life)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command(life, command):
    _, _, rest = life.partition(f"@@ {command}\n")
    lines = re.split("^@", rest, maxsplit=1, flags=re.MULTILINE)[0].splitlines()
    output = [line for line in lines if line and not TRACE.match(line)]
    assert output or command.startswith(("ba", "bc"))
    assert not any(line.startswith(("error", "(usage")) for line in output), output


@pytest.mark.parametrize(
    ("what", "values"),
    [
        pytest.param("image", ["b'MZ'"], id="reads by the SDK"),
        pytest.param("processors", ["4"], id="processors"),
        pytest.param("hit", [ROUTINE], id="breakpoint"),
        pytest.param("stepped", [f"{ROUTINE}+0x1"], id="t"),
        pytest.param("stepped over", ["step"], id="p"),
        pytest.param("returned", ["step"], id="gu"),
        pytest.param("interrupted", ["nt!DbgBreakPointWithStatus"] * 3, id="break-in"),
        pytest.param("rebooted", ["nt!DbgBreakPointWithStatus"], id="reboot"),
        pytest.param("attached again", ["['ntoskrnl.exe', 'hal.dll']"], id="attach again"),
    ],
)
def test_the_target_obeys(life, what, values):
    assert re.findall(rf"^@ {what}: (.+)$", life, re.MULTILINE) == values
