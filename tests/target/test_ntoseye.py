"""An independent KD client against `kdsim target`: ntoseye, over KDCOM and over KDNET.

It shares no code with us, walks our page tables by itself and reads our PDBs with its own reader.
"""

import re
import sys
from pathlib import Path

import pytest

from kdsim.target.lab import find_lab
from tests.labs import lasting_lab
from tests.target import ntoseye_client
from tests.target.ntoseye_client import KEY, TROUBLE, WAYS, untraced
from tests.target.process import TargetProcess

pytestmark = [pytest.mark.ntoseye, pytest.mark.timeout(120)]

ROUTINE = "nt!ExAllocatePoolWithTag"
COMMANDS = (
    f"lm; ps; threads; r; k; u; x nt!Ps*; !poolused; bp {ROUTINE}; bl; g; r rip; k; p; r rip; bc *"
)


def _session(folder: Path, name: str, commands: str) -> str:
    """What ntoseye prints of a session at the initial break, with its trace."""
    ntoseye_client.home(folder)
    lab, way = lasting_lab(folder), ntoseye_client.way(name, folder)
    with TargetProcess(folder, lab, "--wait", "--seed", "1", *way.target, key=KEY) as target:
        target.banner()
        text = ntoseye_client.run(
            folder,
            *(str(Path(sys.executable).with_name("ntoseye")), "--memory-source", "kd"),
            *("--batch", "--plain-repl", "-b", way.backend, "--connect", way.connect),
            *(("--kdnet-key", KEY) if name == "kdnet" else ()),
            *("-c", commands),
        )
        assert target.process.poll() is None
        assert target.stop() == (0, "")
    return text


@pytest.fixture(scope="module", params=WAYS)
def transcript(request, tmp_path_factory):
    """What one session printed, without and with the trace."""
    return _session(tmp_path_factory.mktemp("ntoseye"), request.param, COMMANDS)


@pytest.fixture(scope="module")
def lines(transcript):
    return untraced(transcript)


def _after(lines: list[str], pattern: str) -> list[str]:
    """The lines behind the first that matches, up to an empty one."""
    start = next(n for n, line in enumerate(lines) if re.search(pattern, line)) + 1
    end = next((n for n in range(start, len(lines)) if not lines[n].strip()), len(lines))
    return lines[start:end]


def test_the_wire_is_clean(transcript):
    assert not TROUBLE.findall(transcript)


def test_modules(lines):
    modules = _after(lines, "^Start +End +Module")
    assert [line.split()[-1] for line in modules] == [
        "ntoskrnl.exe",
        "hal.dll",
        *find_lab("lab").boot_drivers,
    ]
    assert modules[0].split()[2:5] == ["nt", "10.0.19041.3570", "loaded"]


def test_processes(lines):
    names = [line.split()[1] for line in _after(lines, "^PID +Name")]
    assert names == ["System", *(process.name for process in find_lab("lab").processes)]


def test_threads(lines):
    threads = _after(lines, "^Processor +ETHREAD")
    assert sum(" explorer.exe " in line for line in threads) == 5
    assert any("nt!ExpWorkerThread" in line for line in threads)


def test_registers_stack_and_code(lines):
    text = "\n".join(lines)
    assert re.search(r"cr3 0000000000100000", text)
    frame = re.compile(r" \d\d +[0-9a-f]{16} +[0-9a-f]{16} ")
    stack = [line for line in _after(lines, "# +Child-SP") if frame.match(line)]
    assert "nt!DbgBreakPointWithStatus" in stack[0]
    assert "nt!Phase1Initialization" in stack[1]
    assert "init.c" in stack[1]
    assert "nt!KiStartSystemThread" in stack[-1]
    assert any(re.search("cc +int3", line) for line in lines)


def test_symbols_by_pattern(lines):
    text = "\n".join(lines)
    for name in ("nt!PsLoadedModuleList", "nt!PsActiveProcessHead", "nt!PsCreateSystemThread"):
        assert name in text


def test_pool_use(lines):
    text = "\n".join(lines)
    for tag in ("Proc", "Thre", "Tidy"):
        assert re.search(rf"\b{tag}\b", text), tag


def test_a_breakpoint_is_hit_and_stepped_from(lines):
    text = "\n".join(lines)
    assert re.search(rf"BREAK +processor \d +kernel at {ROUTINE} *$", text, re.MULTILINE)
    assert re.search(rf"BREAK +processor \d +kernel at {ROUTINE}\+0x1 *$", text, re.MULTILINE)
    at, after = (
        int(value, 16) for value in re.findall(r"^rip=([0-9a-f]{16})$", text, re.MULTILINE)
    )
    assert after == at + 1


# -- processes ---------------------------------------------------------------------------------

LINKS = 0x448  # _EPROCESS.ActiveProcessLinks of 19041
LAST = f"poi(nt!PsActiveProcessHead+8)-{LINKS:#x}"
DESCRIPTOR = f"poi({LAST}-8)&0xfffffffffffffff0"
PROCESS_COMMANDS = (
    f"!ready; !handle; !stacks; .process /p {LAST}; !peb; !token; !vad; !handle; !sd {DESCRIPTOR}"
)


@pytest.fixture(scope="module")
def explorer(tmp_path_factory):
    """The lines of a session that looks at the last process: explorer.exe."""
    text = _session(tmp_path_factory.mktemp("ntoseye"), "kdcom", PROCESS_COMMANDS)
    assert not re.search("^error|not run after", text, re.MULTILINE), text[-3000:]
    return untraced(text)


def test_the_ready_queue(explorer):
    (thread,) = _after(explorer, "^CPU +Priority")
    assert re.match(r"0 +8 +[0-9a-f]{16} +\d+ +4 +System +8 +Ready", thread)


def test_waits_of_many_kinds(explorer):
    states = _after(explorer, "^TID +PID +Process +State")
    reasons = {match[1] for line in states if (match := re.search(r"Waiting \(0x5\) +(\w+)", line))}
    assert reasons == {
        *("Executive", "WrQueue", "UserRequest", "WrLpcReceive", "DelayExecution", "WrResource")
    }


def test_a_process_block_and_its_parameters(explorer):
    fields = dict(re.findall(r"^ +(\S+) +: (.+)$", "\n".join(explorer), re.MULTILINE))
    assert fields["OSBuildNumber"] == "19045"
    assert fields["SessionId"] == "1"
    assert fields["CommandLine"] == "C:\\Windows\\explorer.exe"
    assert fields["DesktopInfo"] == "WinSta0\\Default"


def test_a_token(explorer):
    text = "\n".join(explorer)
    assert re.search(r"User +: S-1-5-21-\d+-\d+-\d+-1001 ", text)
    assert "Groups (11)" in text
    assert "Privileges (5)" in text
    assert re.search(r"S-1-16-8192 +0x60 \(SE_GROUP_INTEGRITY", text)


def test_regions(explorer):
    regions = _after(explorer, "^VAD +Level")
    starts = [int(line.split()[2], 16) for line in regions]
    assert starts == sorted(starts)
    assert {line.split()[-1] for line in regions} == {
        "-",
        "explorer.exe",
        "ntdll.dll",
        "KERNEL32.DLL",
        "KERNELBASE.dll",
    }


def test_handles_of_system_and_of_a_process(explorer):
    kinds = [re.split(r" {2,}", line)[2] for line in _after(explorer, "^Handle +Object")]
    assert kinds == ["Process", "Process", "Session", "Session"]
    start = next(n for n, line in enumerate(explorer) if line.startswith("handles of explorer"))
    kinds = [re.split(r" {2,}", line)[2] for line in _after(explorer[start:], "^Handle +Object")]
    assert {"Event", "Semaphore", "Mutant", "IoCompletion", "Token", "Directory"} == set(kinds)


def test_a_security_descriptor(explorer):
    start = next(n for n, line in enumerate(explorer) if line.startswith("SECURITY_DESCRIPTOR"))
    text = "\n".join(explorer[start:])
    assert re.search(r"S-1-5-21-\d+-\d+-\d+-1001", text)
    assert re.search(r"(?i)0x0*1fffff", text)
