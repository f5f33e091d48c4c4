"""Plain `kdsim kd`: a machine of its own, started and ended together with the debugger."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.end_to_end.processes import Computer, children, wait_until_gone


def test_one_command_lands_at_the_prompt(computer: Computer) -> None:
    done = computer.kd("-c", "q")
    assert done.returncode == 0
    assert done.stderr == ""
    assert "Windows 10 Kernel Version 19041 MP (2 procs) Free x64" in done.stdout
    assert done.stdout.endswith("\n0: kd> kd: Reading initial command 'q'\n")


@pytest.mark.parametrize(
    ("arguments", "typed", "status"),
    [
        pytest.param(["-c", "? 1+1"], "", 0, id="end of input"),
        pytest.param(["-c", "nosuchcommand; q"], "", 1, id="an error in -c"),
        pytest.param(["-c", "nosuchcommand"], "? 2\nq\n", 1, id="an error, then good commands"),
        pytest.param([], "? 1+\nq\n", 1, id="an error from a pipe"),
        pytest.param([], "? 1\nq\n", 0, id="a pipe"),
    ],
)
def test_exit_status(computer: Computer, arguments: list[str], typed: str, status: int) -> None:
    done = computer.kd(*arguments, typed=typed)
    assert done.returncode == status
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        pytest.param("-z /nowhere", "cannot open /nowhere: No such file", id="no-dump"),
        pytest.param("-k net:port=1", "connection 'net:port=1' lacks key=", id="no-key"),
        pytest.param("-k serial", "connection 'serial' is neither", id="unknown-transport"),
        pytest.param("-k", "argument -k: expected one argument; see kdsim kd -h", id="no-value"),
        pytest.param("-cf /nowhere", "cannot read the script /nowhere: No such", id="no-script"),
        pytest.param("--key-file /nowhere", "cannot read the key file /nowhere: No", id="key-file"),
        pytest.param("-kl -z x", "-kl and -z exclude each other", id="two-targets"),
        pytest.param("--machine lab", "--machine goes with -kl", id="machine-without-kl"),
        pytest.param("-what", "unrecognized arguments: -what; see kdsim kd -h", id="option"),
        pytest.param("lab", "unrecognized arguments: lab; see kdsim kd -h", id="argument"),
        pytest.param("--seed x", "argument --seed: invalid int value: 'x'; see", id="number"),
        pytest.param("--time 1", "unrecognized arguments: --time 1; see", id="abbreviation"),
    ],
)
def test_mistakes_on_the_command_line(computer: Computer, line: str, complaint: str) -> None:
    done = computer.kd(*line.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"kdsim: {complaint}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["", "kd", "target", "wire"])
def test_help_of_the_program(computer: Computer, command: str) -> None:
    program = computer.kdsim(*command.split(), "-h")
    assert program.end() == 0
    assert program.output.startswith(f"usage: kdsim {command}")


def test_a_command_that_is_none(computer: Computer) -> None:
    program = computer.kdsim("kdd")
    assert program.end() == 2
    assert program.errors.startswith("kdsim: argument COMMAND: invalid choice: 'kdd'")
    assert program.errors.count("\n") == 1


def test_errors_do_not_end_the_script(computer: Computer) -> None:
    script = computer.folder / "commands.kd"
    script.write_text("nosuch\n? @rip @\n.echo still here\nq\n", encoding="utf-8")
    done = computer.kd("-cf", str(script))
    assert done.returncode == 1
    assert "Unknown command 'nosuch'" in done.stdout
    assert "\nstill here\n" in done.stdout


def test_errors_do_not_end_a_command_string(computer: Computer) -> None:
    done = computer.kd("-c", "nosuch; ? 5; q")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-2:] == [
        "Unknown command 'nosuch'",
        "Evaluate expression: 5 = 00000000`00000005",
    ]


def test_records_as_json(computer: Computer) -> None:
    done = computer.kd("--json", "-c", "? 5; nosuch; .crash; q")
    attached, value, error, crash, end = map(json.loads, done.stdout.splitlines())
    assert done.returncode == 1
    assert "Kernel base" in attached["output"]
    assert value["result"] == {"value": 5}
    assert error == {"error": "Unknown command 'nosuch'"}
    assert "Fatal System Error: 0x000000e2" in crash["output"]
    assert end == {"command": "q"}


def test_same_seed_same_output(computer: Computer) -> None:
    script = ".reload; !process 0 0; !poolused; r; k; q"
    first, second = (computer.kd("--seed", "7", "-c", script).stdout for _ in range(2))
    assert _without_banner(first) == _without_banner(second)
    assert _without_banner(first) != _without_banner(computer.kd("-c", script).stdout)


def _without_banner(text: str) -> str:
    """From the stop on; `.reload` names the debugger's time of day once more."""
    lines = text[text.index("Break instruction") :].splitlines()
    return "\n".join(line for line in lines if not line.startswith("Connected to"))


def test_log_files(computer: Computer) -> None:
    log = computer.folder / "kd.log"
    first = computer.kd("-logo", str(log), "-c", "? 1;q")
    assert log.read_text(encoding="utf-8") == first.stdout
    second = computer.kd("-loga", str(log), "-c", "? 2;q")
    assert log.read_text(encoding="utf-8") == first.stdout + second.stdout


def test_symbol_and_image_path(computer: Computer) -> None:
    done = computer.kd("-y", "srv*/sym", "-i", "/img", "-c", ".sympath; .exepath; q")
    assert "Symbol search path is: srv*/sym\n" in done.stdout
    assert "Executable search path is: /img\n" in done.stdout
    assert "Executable image search path is: /img\n" in done.stdout


def test_stop_at_the_next_module_load(computer: Computer) -> None:
    done = computer.kd("-d", "-c", "g; lm1m; q")
    assert "ModLoad: " in done.stdout
    assert done.stdout.splitlines()[-1] == "leaky"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_the_machine_dies_with_its_debugger(computer: Computer, how: signal.Signals) -> None:
    kd = computer.kdsim("kd")
    kd.type(".echo here")
    kd.until("here")
    (machine,) = children(kd.pid)
    os.kill(kd.pid, how)
    assert kd.end() == -how
    wait_until_gone(machine)


def test_the_debugger_tells_that_its_machine_died(computer: Computer) -> None:
    kd = computer.kdsim("kd", "--seed", "1")
    kd.type(".echo here; g; .echo never")
    kd.until("here")
    (machine,) = children(kd.pid)
    os.kill(machine, signal.SIGKILL)
    assert kd.end() == 3
    assert kd.output.endswith("\nthe lab machine has ended: killed by signal 9\n")


def test_control_c_breaks_into_a_running_machine(computer: Computer) -> None:
    kd = computer.kdsim("kd")
    kd.type("g")
    running = kd.until("ModLoad: ")
    kd.interrupt()
    stopped = kd.until("nt!DbgBreakPointWithStatus:", after=running)
    assert "You are seeing this message because you pressed either" in kd.output[running:stopped]
    kd.type("? 5")
    kd.until("Evaluate expression: 5 =", after=stopped)
    kd.type("q")
    assert kd.end() == 0
    assert kd.errors == ""


def test_control_c_ends_a_listing(computer: Computer) -> None:
    kd = computer.kdsim("kd")
    kd.type(".while (1) { x nt!* }")
    listed = kd.until("nt!Ex")
    kd.interrupt()
    kd.until("^C\n", after=listed)
    kd.type("? 5; q")
    kd.until("Evaluate expression: 5 =")
    assert kd.end() == 0


@pytest.mark.parametrize(
    ("redirected", "shown", "complaint"),
    [
        pytest.param("| head -1", "Connected to Windows 10", "", id="the-reader-goes-away"),
        pytest.param(">/dev/full", "", "kdsim: No space left on device\n", id="the-disk-is-full"),
    ],
)
def test_output_that_nobody_takes(
    computer: Computer, redirected: str, shown: str, complaint: str
) -> None:
    kd = f"{sys.executable} -m kdsim kd -c 'x nt!*; q'"
    done = subprocess.run(
        ["bash", "-c", f"{kd} </dev/null {redirected}; exit ${{PIPESTATUS[0]}}"],
        env=computer.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith(shown)
    assert (done.returncode, done.stderr) == (1, complaint)
