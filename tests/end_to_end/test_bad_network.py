"""A script over a network that loses, repeats, reorders, damages and delays: the same text."""

import os
import socket
import subprocess
import sys

import pytest

from tests.properties.patience import FUZZ_SECONDS
from tests.target.process import TargetProcess, free_port
from tests.wire.network import Faults
from tests.wire.relay import Relay

KEY = "1.2.3.4"
PATIENCE = 3000
COMMANDS = (
    "r",
    "db nt l200",
    "u rip l5",
    "k",
    "t",
    "dq rsp l10",
    "!process 0 0",
    "bp nt!KeBugCheckEx",
    "p",
    "bl",
    "lm",
    "bc *",
    "!thread",
    "dt nt!_EPROCESS @$proc UniqueProcessId ImageFileName",
    "ed rsp-100 12345678; dd rsp-100 l1",
    "!pte rip",
    "!vm",
    "~1s; r rip; ~0s",
    "rdmsr c0000080",
    "!idt 3",
)


def text_of(folder, commands, faults):
    """What `kdsim kd` prints behind its first prompt, and the datagrams that took."""
    folder.mkdir(mode=0o700)
    script = folder / "commands.txt"
    script.write_text("\n".join(commands) + "\nqd\n")
    port = free_port(socket.SOCK_DGRAM)
    with Relay(port, faults) as relay:
        target = ("--port", str(relay.port), "--seed", "1", "--wait")
        with TargetProcess(folder, "lab", *target, key=KEY) as process:
            done = subprocess.run(
                [sys.executable, "-m", "kdsim", "kd", "-k", f"net:port={port}", "-cf", str(script)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=PATIENCE,
                env={**os.environ, "KDSIM_KEY": KEY},
            )
            assert process.process.poll() is None
    assert "Traceback" not in done.stdout
    return done.stdout[done.stdout.index("kd> ") :], relay.passed


def compare(folder, commands, chance, seed):
    faults = Faults(seed, loss=chance, repeat=chance, delay=chance, damage=chance)
    clean, few = text_of(folder / "clean", commands, Faults())
    bad, many = text_of(folder / "bad", commands, faults)
    assert bad == clean
    assert clean.count("kd> ") > len(commands)
    assert many > few


@pytest.mark.parametrize("chance", [0.1])
def test_a_short_script(tmp_path, chance):
    compare(tmp_path, COMMANDS, chance, seed=1)


@pytest.mark.fuzz
@pytest.mark.skipif(FUZZ_SECONDS < 60, reason="minutes: KDSIM_FUZZ_SECONDS=300")
@pytest.mark.timeout(2 * PATIENCE)
@pytest.mark.parametrize("chance", [0.05, 0.1])
def test_five_hundred_commands(tmp_path, chance):
    compare(tmp_path, COMMANDS * 25, chance, seed=2)
