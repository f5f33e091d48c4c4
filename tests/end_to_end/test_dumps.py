"""A dump taken with `.dump` and opened with `-z` shows the machine as it stood."""

from __future__ import annotations

import re

import pytest

from tests.dump.test_small_dumps import small_dump
from tests.end_to_end.processes import Computer

LOOKS = (
    "vertarget; r; k; ~; !running; !process 0 0; !thread; lm; !poolused; !verifier 3;"
    " dd nt!PoolHitTag L4; !object \\\\; x nt!Mm*; !pcr; .exr -1; .bugcheck; ~1s; r; k"
)


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("", id="at the first stop"),
        pytest.param("ed nt!poolhittag ' cbA'; g; ", id="in a driver"),
        pytest.param(".crash; ", id="after a bug check"),
    ],
)
def test_dump_shows_the_same(computer: Computer, before: str) -> None:
    path = computer.folder / "here.dmp"
    live = computer.kd("-c", f"{before}.dump /ka /c test {path}; .echo here; {LOOKS}; q")
    dead = computer.kd("-z", str(path), "-c", f".echo here; {LOOKS}; q")
    assert live.returncode == dead.returncode == 0
    assert "\nDump successfully written\n" in live.stdout
    assert "Comment: 'test'\n" in dead.stdout
    shown = live.stdout.rpartition("\nhere\n")[2]
    assert shown.count("\n") > 200
    assert dead.stdout.rpartition("\nhere\n")[2] == shown


def test_a_kernel_dump_leaves_user_memory_out(computer: Computer) -> None:
    path, look = computer.folder / "k.dmp", "!process 0 0 winlogon.exe"
    done = computer.kd("-c", f".dump /k {path}; {look}; q")
    assert "k.dmp - Kernel memory bitmap dump\n" in done.stdout
    (process, peb), *_ = re.findall(r"^PROCESS (\w+)\n.* Peb: (\w+) ", done.stdout, re.MULTILINE)
    looks = f".process /r /p {process}; .echo here; {look}; dw {peb} L1; q"
    dead = computer.kd("-z", str(path), "-c", looks).stdout.rpartition("here\n")[2]
    assert f"PROCESS {process}\n" in dead
    assert dead.endswith("  ????\n")


def test_what_a_dump_refuses(computer: Computer) -> None:
    path = computer.folder / "here.dmp"
    computer.kd("-c", f".dump /ka {path}; q")
    done = computer.kd(
        "-z", str(path), "-c", "g; p; bp nt!KeBugCheckEx; ed nt!PoolHitTag 1; rdmsr 10; .reboot; q"
    )
    assert done.returncode == 1
    refusals = done.stdout.splitlines()[-6:]
    assert refusals == [
        "No runnable debuggees error in 'g': A crash dump cannot run.",
        "No runnable debuggees error in 'p': A crash dump cannot run.",
        "Operation not supported by current debuggee error in 'bp':"
        " A crash dump cannot run, so breakpoints have no use.",
        "Operation not supported by current debuggee error in 'ed':"
        " A crash dump cannot be changed.",
        "Operation not supported by current debuggee error in 'rdmsr':"
        " A crash dump holds no model-specific registers.",
        "No runnable debuggees error in '.reboot': A crash dump cannot run.",
    ]


SMALL_LOOKS = (
    "vertarget; r; k; kP; lm; !thread; .bugcheck; .lastevent; dv; u; !pcr; .exr -1; dd @rsp L8;"
    " lm u; .thread; .process; !analyze -v"
)


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("", id="at the first stop"),
        pytest.param("ed nt!poolhittag ' cbA'; g; ", id="in a driver"),
        pytest.param(".crash; ", id="after a bug check"),
    ],
)
def test_a_small_dump_shows_what_stood_there(computer: Computer, before: str) -> None:
    path = computer.folder / "small.dmp"
    live = computer.kd("-c", f"{before}.dump {path}; .echo here; {SMALL_LOOKS}; q")
    dead = computer.kd("-z", str(path), "-c", f".echo here; {SMALL_LOOKS}; q")
    assert f"Creating {path} - mini kernel dump\nDump successfully written\n" in live.stdout
    assert "\nMini Kernel Dump File: Only registers and stack trace are available\n" in dead.stdout
    assert path.stat().st_size < 300_000
    shown = [
        re.sub(r"debugger time: .*", "", done.stdout.rpartition("\nhere\n")[2])
        for done in (live, dead)
    ]
    assert shown[0].count("\n") > 100
    assert shown[1] == shown[0]


def test_what_a_small_dump_does_not_hold(computer: Computer) -> None:
    path, again = computer.folder / "small.dmp", computer.folder / "again.dmp"
    computer.kd("-c", f".dump {path}; q")
    done = computer.kd(
        "-z", str(path), "-c", f"dd nt!PoolHitTag L1; !dd 1000; ~; .dump /f x; .dump {again}; q"
    )
    shown = re.sub(r"[0-9a-f`]{17}|\b[0-9a-f]{16}\b", "...", done.stdout).splitlines()
    assert shown[-7:] == [
        "...  ????????",
        "Operation not supported by current debuggee error in '!dd':"
        " A small dump holds no physical memory.",
        ". 0  Thread: ...",
        "  1  Thread: <Memory access error at ...>",
        "Memory access error at ...",
        f"Creating {again} - mini kernel dump",
        "Dump successfully written",
    ]
    assert again.read_bytes()[0x2000:] == path.read_bytes()[0x2000:]


def test_a_dump_of_a_kernel_nobody_here_knows(computer: Computer) -> None:
    """No symbols at all: what the header and the driver list say is still there."""
    path = computer.folder / "foreign.dmp"
    path.write_bytes(small_dump())
    done = computer.kd("-z", str(path), "-y", "nowhere", "-c", ".bugcheck; lm; db 1000 L7; q")
    lines = done.stdout.splitlines()
    banner = lines.index("Windows 10 Kernel Version 19041 MP (2 procs) Free x64")
    assert lines[banner : banner + 6] == [
        "Windows 10 Kernel Version 19041 MP (2 procs) Free x64",
        "Product: WinNt, suite: TerminalServer SingleUserTS",
        "Machine Name:",
        "Kernel base = 0xfffff800`10000000 PsLoadedModuleList = 0xfffff800`10000000",
        "Debug session time: Sat Jun 18 04:26:40.000 2022 (UTC + 0:00)",
        "System Uptime: 0 days 0:01:00.000",
    ]
    assert lines[-7:] == [
        "Bugcheck code 000000C4",
        "Arguments 00000000`00000062 00000000`00000001 00000000`00000002 00000000`00000003",
        "start             end                 module name",
        "fffff800`10000000 fffff800`11046000   nt         (no symbols)",
        "fffff800`20000000 fffff800`20006000   hal        (deferred)",
        "fffff800`30000000 fffff800`30007000   한글         (deferred)",
        "00000000`00001000  6f 6e 65 74 77 6f ??                             onetwo?",
    ]


def test_modules_of_a_dump(computer: Computer) -> None:
    path = computer.folder / "here.dmp"
    computer.kd("-c", f".dump /ka {path}; q")
    last = "@@(#CONTAINING_RECORD(nt!PsActiveProcessHead.Blink, nt!_EPROCESS, ActiveProcessLinks))"
    commands = (".reload", f".process /r {last}", "lm 1m u", ".echo $CurrentDumpPath", "q")
    done = computer.kd("-z", str(path), "-c", "; .echo ----; ".join(("", *commands)))
    _, reload, process, listed, folder, _ = done.stdout.split("----\n")
    assert reload.startswith("Loading Kernel Symbols\n.")
    assert reload.endswith("Loading User Symbols\n\nLoading unloaded module list\n")
    assert process.partition("\n")[2] == "Loading User Symbols\n....\n"
    assert listed.split() == ["explorer", "KERNELBASE", "KERNEL32", "ntdll"]
    assert folder == f"{computer.folder}\n"


@pytest.mark.parametrize(
    ("content", "message", "status"),
    [
        pytest.param(None, "No such file", 2, id="missing"),
        pytest.param(b"", "8192 bytes", 3, id="empty"),
        pytest.param(b"MZ" * 8192, "PAGEDU64", 3, id="no dump"),
    ],
)
def test_bad_files(computer: Computer, content: bytes | None, message: str, status: int) -> None:
    path = computer.folder / "bad.dmp"
    if content is not None:
        path.write_bytes(content)
    done = computer.kd("-z", str(path), "-c", "r")
    assert done.returncode == status
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_dump_is_named_after_its_time(computer: Computer) -> None:
    computer.kd("-c", f".dump /u {computer.folder}/some.dmp; q")
    (path,) = computer.folder.glob("*.dmp")
    assert re.fullmatch(r"some_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d\.dmp", path.name)


def test_nothing_is_left_of_a_dump_that_failed(computer: Computer) -> None:
    folder = computer.folder / "dumps"
    folder.mkdir()
    script = f".dump /b {folder}/b; .dump /f {folder}/no/c; .dump; q"
    done = computer.kd("-c", script)
    assert done.returncode == 1
    assert "CAB files are not written; leave out /b" in done.stdout
    assert "No such file or directory" in done.stdout
    assert list(folder.iterdir()) == []
