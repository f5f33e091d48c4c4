"""ntoseye's SDK through a whole life on four processors: every command, steps, reboot, re-attach.

The session itself is `ntoseye_life.py`, in a process of its own, with its wire trace.
"""

import re
import sys

import pytest

from tests.target import ntoseye_client
from tests.target.ntoseye_client import KEY, TRACE, TROUBLE, WAYS
from tests.target.ntoseye_life import COMMANDS, ROUTINE
from tests.target.process import TargetProcess

pytestmark = [pytest.mark.ntoseye, pytest.mark.timeout(120)]


@pytest.fixture(scope="module", params=WAYS)
def life(request, tmp_path_factory):
    """What the session printed, with its trace."""
    folder = tmp_path_factory.mktemp("life")
    ntoseye_client.home(folder)
    way = ntoseye_client.way(request.param, folder)
    with TargetProcess(folder, "lab", "--wait", "--cpus", "4", *way.target, key=KEY) as target:
        target.banner()
        text = ntoseye_client.run(
            folder,
            *(sys.executable, "-m", "tests.target.ntoseye_life", way.backend, way.connect),
            *((KEY,) if request.param == "kdnet" else ()),
        )
        assert target.process.poll() is None
        assert target.stop()[0] == 0
    return text


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
