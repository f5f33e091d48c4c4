"""`kd -kl`: memory of a machine that runs here, and nothing that would need it to stand still."""

from __future__ import annotations

import pytest

from tests.end_to_end.processes import Computer

REFUSED = {
    "g": "Execution control is not available",
    "p": "Execution control is not available",
    "t 5": "Execution control is not available",
    ".reboot": "Execution control is not available",
    ".crash": "Execution control is not available",
    "bp nt!KeBugCheckEx": "Breakpoints are not available",
    "ba w4 nt!PoolHitTag": "Breakpoints are not available",
    "bl": "Breakpoints are not available",
    "r": "Registers and stacks are not available",
    "r rip": "Registers and stacks are not available",
    "k": "Registers and stacks are not available",
    "~1s": "Registers and stacks are not available",
    "rdmsr c0000080": "Model-specific registers are not available",
}


@pytest.fixture
def machine(computer: Computer):
    with computer.target("--com", f"unix:{computer.folder / 'com1'}"):
        yield computer


def test_memory_can_be_read_and_written(machine: Computer) -> None:
    first = machine.kd("-kl", "-c", "ed nt!PoolHitTag 'zzzz'; dc nt!PoolHitTag L1; q")
    second = machine.kd("-kl", "-c", "dc nt!PoolHitTag L1; !process 0 0 lsass.exe; q")
    assert (first.returncode, second.returncode) == (0, 0)
    assert "lkd> kd: Reading initial command" in first.stdout
    assert "Windows 10 Kernel Version 19041 MP (2 procs) Free x64" in first.stdout
    assert "7a7a7a7a                             zzzz" in first.stdout
    assert "7a7a7a7a                             zzzz" in second.stdout
    assert "Image: lsass.exe" in second.stdout


def test_the_rest_is_refused_with_the_reason(machine: Computer) -> None:
    done = machine.kd("-kl", typed="".join(f"{line}\n" for line in REFUSED) + "q\n")
    assert done.returncode == 1
    said = dict(pair.split("\n", 1) for pair in done.stdout.split("lkd> ")[1:])
    for line, reason in REFUSED.items():
        assert reason in said[line], line
        assert said[line].count("\n") == 1


def test_stacks_of_threads_that_wait(machine: Computer) -> None:
    """They lie in memory; only what runs cannot be looked at."""
    done = machine.kd("-kl", "-c", "!stacks; !process 0 6 smss.exe; q")
    assert done.returncode == 0
    waiting = [line for line in done.stdout.splitlines() if " Blocked " in line]
    assert len(waiting) > 20
    assert not [line for line in waiting if "not available" in line]
    assert ": nt!KeWaitForSingleObject+0x" in done.stdout


def test_no_machine(computer: Computer) -> None:
    done = computer.kd("-kl", "-c", "q")
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "no machine" in done.stderr


def test_which_machine(machine: Computer) -> None:
    other = machine.kdsim("target", "lab", "--com", f"unix:{machine.folder / 'com2'}")
    other.until("attach: ")
    unsaid = machine.kd("-kl", "-c", "q")
    assert unsaid.returncode == 2
    assert "--machine" in unsaid.stderr
    for name, status in (("lab", 0), ("lab-2", 0), ("lab-3", 3)):
        assert machine.kd("-kl", "--machine", name, "-c", "q").returncode == status, name
