"""`kdsim kd` at targets nobody here made: what can work does, everything else says why."""

import os
import struct
import subprocess
import sys

import pytest

from kdsim.wire import links
from kdsim.wire.kdcom import KdcomTarget
from kdsim.wire.messages import TraceIo, UnknownChange
from kdsim.wire.target_connection import TargetConnection
from tests.wire.fake_target import BASE, PAGE, ForeignTarget, VirtualBoxTarget

PATIENCE = 60


def debug(folder, commands, *, kind=None, payload=b"", stop=None, make=ForeignTarget):
    """Exit status and output of `kdsim kd -c` at a target that says one strange thing first.

    Or that stands at a strange `stop`, and at a breakpoint once it was let go.
    """
    connection = TargetConnection(KdcomTarget(), links.unix_listen(folder / "kd"))
    with make(connection) as target:
        target.contexts[0].set("rip", BASE + 0x123)
        target.contexts[0].set("rsp", BASE + 2 * PAGE - 16)
        target.change = target.breakpoint()
        if stop is not None:
            target.stop(stop)
            target.stop(target.breakpoint())
        else:
            target.say(9 if kind is None else kind, payload or bytes(64))
        transport = f"com:pipe,port={folder}/kd"
        arguments = ["-k", transport, "-y", str(folder), "-c", f"{commands};qd"]
        done = subprocess.run(
            [sys.executable, "-m", "kdsim", "kd", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            env={**os.environ, "HOME": str(folder), "_NT_SYMBOL_PATH": str(folder)},
        )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        pytest.param("vertarget", "Windows Kernel Version 22621 MP (2 procs)", id="version"),
        pytest.param("r rip", "rip=fffff80000000123", id="register"),
        pytest.param("u rip l1", "fffff800`00000123 23242526272829", id="code"),
        pytest.param("db fffff80000000ff0 l200", "fffff800`000011e0  e0 e1 e2", id="long read"),
        pytest.param("dd fffff80000001ffc l2", "fffff800`00001ffc  fffefdfc ????????", id="hole"),
        pytest.param("ed fffff80000000010 77;dd fffff80000000010 l1", "00000077", id="write"),
        pytest.param("bp fffff80000000200;bl", "fffff800`00000200", id="breakpoint"),
        pytest.param("k", "0xfffff800`00000123", id="stack"),
        pytest.param("lm", "nt       T (no symbols)", id="modules"),
        pytest.param("rdmsr c0000080", "00000000`00000d01", id="msr"),
        pytest.param("~1s", "00000000`00000000 ??", id="processor"),
    ],
)
def test_what_works(tmp_path, command, shown):
    assert shown in debug(tmp_path, command)[1]


def test_a_stop_of_an_unknown_kind_is_the_users_to_decide(tmp_path):
    """The target would wait for ever, and what it means is known to nobody here."""
    stop = UnknownChange(1, 2, 0, BASE + 0x123, state=0x3099)
    status, text = debug(tmp_path, ".lastevent;g", stop=stop)
    told = "State change 00003099 of an unknown kind"
    assert f"*** {told}; the target stands still, g lets it go on\n" in text
    assert f"Last event: {told}\n" in text
    assert "Break instruction exception - code 80000003" in text
    assert status == 0


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        pytest.param("vertarget", "Windows Kernel Version 10240 MP (2 procs)", id="version"),
        pytest.param("r rip", "rip=fffff80000000123", id="register"),
        pytest.param("r rax=55;r rax", "rax=0000000000000055", id="set register"),
        pytest.param("r cr3", "cr3=0000000000000000", id="control register"),
        pytest.param("dd fffff80000001ffc l2", "fffff800`00001ffc  fffefdfc ????????", id="hole"),
        pytest.param("db fffff80000001f00 l200", "fffff800`00001ff0  f0 f1 f2", id="long read"),
        pytest.param("s fffff80000000000 l1000 12 13 14", "fffff800`00000f12", id="search"),
        pytest.param("f fffff80000000010 l2 77;db fffff80000000010 l2", "77 77", id="fill"),
        pytest.param("bp fffff80000000200;bl", "fffff800`00000200", id="breakpoint"),
        pytest.param("rdmsr c0000080", "no such msr: c0000080", id="msr"),
        pytest.param("ib 60", "port 0x60 cannot be read (status c0000002)", id="port"),
        pytest.param("k", "0xfffff800`00000123", id="stack"),
        pytest.param("~1s", "00000000`00000000 ??", id="processor"),
    ],
)
def test_virtualbox(tmp_path, command, shown):
    assert shown in debug(tmp_path, command, make=VirtualBoxTarget)[1]


NO_TYPES = "(nt: not an executable image (no MZ))"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        pytest.param("!process 0 0", f"no type nt!_KUSER_SHARED_DATA {NO_TYPES}", id="process"),
        pytest.param("!pcr", f"no symbol KeNumberProcessors in nt {NO_TYPES}", id="pcr"),
        pytest.param("dt nt!_EPROCESS", "Symbol nt!_EPROCESS not found.", id="type"),
        pytest.param("rdmsr 10", "no such msr: 10", id="msr"),
        pytest.param("db 0 l1", "00000000`00000000  ??", id="memory"),
    ],
)
def test_what_cannot_says_why_in_one_line(tmp_path, command, reason):
    _status, text = debug(tmp_path, f".echo <;{command};.echo >")
    between = text.rpartition("<\n")[2].partition("\n>")[0]
    assert between.startswith(reason)
    assert "\n" not in between
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        pytest.param(9, TraceIo(b"event").pack(), id="trace I/O"),
        pytest.param(9, TraceIo(bytes(900)).pack(), id="long trace I/O"),
        pytest.param(9, b"x", id="short trace I/O"),
        pytest.param(10, struct.pack("<III", 0x4300, 1, 0), id="control request"),
        pytest.param(3, b"\x39\x39" + bytes(30), id="unknown debug I/O"),
        pytest.param(3, b"x", id="short debug I/O"),
        pytest.param(7, struct.pack("<I", 0x3099) + bytes(300), id="unknown state"),
        pytest.param(7, b"x", id="short state change"),
        pytest.param(2, bytes(56), id="a reply nobody asked for"),
        pytest.param(2, b"x", id="short manipulate"),
        pytest.param(11, b"\x39\x39" + bytes(80), id="unknown file request"),
        pytest.param(11, struct.pack("<I", 0x3430) + bytes(76), id="file"),
        pytest.param(11, b"z", id="short file request"),
        pytest.param(1, bytes(200), id="32-bit state change"),
        *(pytest.param(n, b"hello", id=f"type {n}") for n in (0, 4, 5, 6, 8, 12, 0x77, 0xFFFF)),
    ],
)
def test_strange_messages_end_nothing(tmp_path, kind, payload):
    """The target goes on when it has the acknowledgement; what the debugger does not know of, or
    has no use for (TRACE_IO), it takes and drops."""
    status, text = debug(tmp_path, "r rip", kind=kind, payload=payload)
    assert text.endswith("\nrip=fffff80000000123\n")
    assert "Traceback" not in text
    assert status == 0
