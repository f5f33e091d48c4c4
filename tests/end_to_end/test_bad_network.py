"""A script over a network that loses, repeats, reorders, damages and delays: the same text."""

import os
import subprocess
import sys

import pytest

from tests.ports import free_udp_port
from tests.properties.patience import FUZZ_SECONDS
from tests.target.process import TargetProcess
from tests.wire.network import Faults, Noise
from tests.wire.relay import Relay, StreamRelay

KEY = "1.2.3.4"
PATIENCE = 3000
NOISE = 1e-4
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


def script_of(commands, folder):
    script = folder / "commands.txt"
    script.write_text("\n".join(commands) + "\nqd\n")
    return script


def session(connection, script, process):
    """What `kdsim kd` prints behind its first prompt."""
    process.banner()
    done = subprocess.run(
        [sys.executable, "-m", "kdsim", "kd", "-k", connection, "-cf", str(script)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "KDSIM_KEY": KEY},
    )
    assert process.process.poll() is None, done.stdout
    assert "kd> " in done.stdout, done.stdout
    assert "Traceback" not in done.stdout, done.stdout
    return done.stdout[done.stdout.index("kd> ") :]


def over_kdnet(folder, commands, faults):
    """The text, and the datagrams that took."""
    folder.mkdir(mode=0o700)
    port = free_udp_port()
    with Relay(port, faults) as relay:
        target = ("--port", str(relay.port), "--seed", "1", "--wait")
        with TargetProcess(folder, "lab", *target, key=KEY) as process:
            text = session(f"net:port={port}", script_of(commands, folder), process)
    return text, relay.passed


def over_kdcom(folder, commands, noise):
    """The text, and the bytes that took."""
    folder.mkdir(mode=0o700)
    line, place = folder / "line", folder / "kd"
    with StreamRelay(line, place, noise) as relay:
        target = ("--com", f"unix:{place}", "--seed", "1", "--wait")
        with TargetProcess(folder, "lab", *target) as process:
            text = session(f"com:pipe,port={line}", script_of(commands, folder), process)
    return text, relay.passed


def compare(clean, bad, commands):
    (expected, few), (text, many) = clean, bad
    assert text == expected
    assert expected.count("kd> ") > len(commands)
    assert many > few


def compare_over_kdnet(folder, commands, chance, seed):
    faults = Faults(seed, loss=chance, repeat=chance, delay=chance, damage=chance)
    clean = over_kdnet(folder / "clean", commands, Faults())
    compare(clean, over_kdnet(folder / "bad", commands, faults), commands)


@pytest.mark.parametrize(("chance", "seed"), [(0.1, 1), (0.1, 2), (0.3, 1)])
def test_a_short_script(tmp_path, chance, seed):
    compare_over_kdnet(tmp_path, COMMANDS, chance, seed)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_short_script_over_a_noisy_line(tmp_path, seed):
    """Of ten thousand bytes one is lost and one damaged.

    A sum of bytes cannot see a zero that is lost while another comes twice.
    """
    noise = Noise(seed, loss=NOISE, damage=NOISE)
    clean = over_kdcom(tmp_path / "clean", COMMANDS, Noise())
    compare(clean, over_kdcom(tmp_path / "bad", COMMANDS, noise), COMMANDS)


@pytest.mark.fuzz
@pytest.mark.skipif(FUZZ_SECONDS < 60, reason="minutes: KDSIM_FUZZ_SECONDS=300")
@pytest.mark.timeout(2 * PATIENCE)
@pytest.mark.parametrize("chance", [0.05, 0.1, 0.2, 0.3])
def test_five_hundred_commands(tmp_path, chance):
    compare_over_kdnet(tmp_path, COMMANDS * 25, chance, seed=2)
