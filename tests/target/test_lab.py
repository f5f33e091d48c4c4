"""Lab files: what is read, and what each mistake is answered with."""

from pathlib import Path

import pytest

from kdsim.errors import UserError
from kdsim.target.lab import Process, Task, find_lab, read_lab


def _write(folder: Path, text: str) -> Path:
    path = folder / "my.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_lab_is_the_leak_hunt():
    lab = find_lab("lab")
    assert lab.name == "lab"
    assert lab.ram == 512 << 20
    assert lab.processors == 2
    assert lab.boot_drivers == ("tidy.sys", "pulse.sys", "pulseflt.sys", "monitor.sys")
    assert lab.verifier.drivers == ("leaky.sys",)
    assert lab.tasks == (Task(1.0, "leaky.sys", True), Task(60.0, "leaky.sys", False))
    names = [process.name for process in lab.processes]
    assert names.count("svchost.exe") == 3
    assert names[lab.processes[names.index("lsass.exe")].parent] == "wininit.exe"


def test_an_empty_file_is_a_machine(tmp_path):
    lab = read_lab(_write(tmp_path, ""))
    assert (lab.name, lab.processors, lab.processes, lab.tasks) == ("my", 2, (), ())


def test_everything_is_read(tmp_path):
    lab = read_lab(
        _write(
            tmp_path,
            """
            name = "two"
            ram = "1G"
            processors = 1
            seed = 0x1234
            images = ["drivers"]
            power_on = 2020-02-02T02:02:02Z
            [[process]]
            name = "smss.exe"
            [[process]]
            name = "csrss.exe"
            parent = "SMSS.EXE"
            session = 1
            threads = 4
            priority = 13
            [[task]]
            at = 2
            stop = "a.sys"
            [[task]]
            at = 1.5
            start = "a.sys"
            """,
        )
    )
    assert (lab.name, lab.ram, lab.seed, lab.power_on.year) == ("two", 1 << 30, 0x1234, 2020)
    assert lab.images == (tmp_path / "drivers",)
    assert lab.processes[1] == Process("csrss.exe", 0, 1, 4, 13)
    assert [task.at for task in lab.tasks] == [1.5, 2.0]


def test_the_command_line_wins(tmp_path):
    lab = read_lab(_write(tmp_path, "seed = 3")).changed(seed=9, processors=4, ram="256M")
    assert (lab.seed, lab.processors, lab.ram) == (9, 4, 256 << 20)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("ram = ", "not TOML", id="syntax"),
        pytest.param("cpus = 2", "cpus: unknown key (known: process, task", id="unknown"),
        pytest.param("procesors = 2", "unknown key (did you mean processors?)", id="near"),
        pytest.param("processors = 33", "processors: expected a whole number from 1 to 32, got 33",
                     id="too-many-processors"),
        pytest.param("processors = true", "expected a whole number", id="bool-is-no-number"),
        pytest.param('ram = "12M"', 'ram: expected a size from 64M to 64G such as 512M, got "12M"',
                     id="small-ram"),
        pytest.param('ram = "much"', "expected a size", id="ram-text"),
        pytest.param("ram = 512", "expected a size", id="ram-number"),
        pytest.param("[[process]]\nthreads = 1", "process[0].name is missing", id="no-name"),
        pytest.param('[[process]]\nname = "a b"', "without blanks", id="blank"),
        pytest.param('[[process]]\nname = "a-name-too-long.exe"', "1 to 15 ASCII", id="long-name"),
        pytest.param('[[process]]\nname = "a"\nparent = "b"',
                     'process[0].parent: expected the name of a process listed above, or System, '
                     'got "b"', id="parent"),
        pytest.param("process = 1", "process: expected at most 256 [[process]] tables",
                     id="process-number"),
        pytest.param('verifier = "on"', 'verifier: expected a table, got "on"', id="table"),
        pytest.param("[verifier]\nflags = -1", "verifier.flags: expected a whole", id="flags"),
        pytest.param('[verifier]\ndrivers = "*"', "verifier.drivers: expected a list",
                     id="drivers"),
        pytest.param("[[task]]\nat = 1", "task[0].start: expected exactly one", id="no-action"),
        pytest.param('[[task]]\nat = 1\nstart = "a"\nstop = "a"', "exactly one", id="two-actions"),
        pytest.param('[[task]]\nat = -1\nstart = "a"', "task[0].at: expected seconds", id="at"),
        pytest.param("power_on = 2020-02-02T02:02:02", "with its zone", id="zone"),
        pytest.param("images = [1]", "images: expected a list of folders", id="images"),
    ],
)  # fmt: skip
def test_mistakes_name_file_key_and_what_was_expected(tmp_path, text, message):
    path = _write(tmp_path, text)
    with pytest.raises(UserError) as caught:
        read_lab(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        pytest.param("nosuch", "no machine named 'nosuch' (known: lab;", id="name"),
        pytest.param("../lab", "no machine named '../lab'", id="path-in-name"),
        pytest.param("/nowhere/x.toml", "cannot read the machine: No such file", id="file"),
    ],
)
def test_no_such_lab(machine, message):
    with pytest.raises(UserError, match=r".") as caught:
        find_lab(machine)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"processors": 0}, "--cpus: expected a whole number from 1 to 32, got 0",
                     id="cpus"),
        pytest.param({"ram": "9"}, '--ram: expected a size from 64M to 64G such as 512M, got "9"',
                     id="ram"),
    ],
)  # fmt: skip
def test_wrong_options(changes, message):
    with pytest.raises(UserError) as caught:
        find_lab("lab").changed(**changes)
    assert str(caught.value) == message
