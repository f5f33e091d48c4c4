"""A machine saved while a debugger holds it stands at the same stop when it is loaded."""

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from kdsim.target.machine.machine import Reason
from kdsim.wire.manipulate import Api, Manipulate, MemoryArguments
from kdsim.wire.messages import AnyStateChange
from tests.target.booted import Debugged
from tests.target.debugging import debug, listen

NULL_PAGE = 0x1230
ACCESS_VIOLATION = 0xC0000005
STOP_ON_EXCEPTION = 1


def _initial_break(target: Debugged) -> AnyStateChange:
    return target.run_to_stop()


def _step(target: Debugged) -> AnyStateChange:
    target.set_registers(rip=target.run_to_stop().pc + 1)
    target.go(trace=True)
    return target.run_to_stop()


def _module_notice(target: Debugged) -> AnyStateChange:
    target.set_registers(rip=target.run_to_stop().pc + 1)
    target.go()
    return target.run_to_stop()


def _exception(target: Debugged) -> AnyStateChange:
    target.run_to_stop()
    target.kernel.write("NtGlobalFlag", STOP_ON_EXCEPTION, 4)
    target.jump(rip=NULL_PAGE)
    change = target.run_to_stop()
    assert change.code == ACCESS_VIOLATION
    return change


def _bug_check(target: Debugged) -> AnyStateChange:
    target.run_to_stop()
    target.ask(Manipulate.request(Api.CAUSE_BUGCHECK))
    return target.run_to_stop()


def _other_processor(target: Debugged) -> AnyStateChange:
    number = target.run_to_stop().processor
    target.ask(Manipulate.request(Api.SWITCH_PROCESSOR, processor=1 - number))
    return target.script.reports[-1]


def _edited_registers(target: Debugged) -> AnyStateChange:
    pc = target.run_to_stop().pc
    target.set_registers(rip=pc + 1, rbx=0x1234)
    target.ask()
    return target.script.reports[-1]


def _command_string(target: Debugged) -> AnyStateChange:
    target.run_to_stop()
    text = target.kernel.address("KdPrintDefaultCircularBuffer")
    strings = b"".join(struct.pack("<HHIQ", 4, 5, 0, text + place) for place in (32, 36))
    target.one(Api.WRITE_VIRTUAL, MemoryArguments(text, 40), strings + b"NameText")
    target.set_registers(rip=target.debug_service, rax=5, rcx=text, rdx=text + 16)
    target.go()
    return target.run_to_stop()


KINDS = {
    "int3": _initial_break,
    "single step": _step,
    "module notice": _module_notice,
    "exception": _exception,
    "bug check": _bug_check,
    "other processor": _other_processor,
    "edited registers": _edited_registers,
    "command string": _command_string,
}
STOPS = pytest.mark.parametrize("stop", KINDS.values(), ids=KINDS)


@STOPS
def test_the_same_stop_stands_and_goes_on_the_same(tmp_path: Path, stop):
    target = Debugged()
    change = stop(target)
    target.system.machine.save(tmp_path / "saved")

    again = Debugged.loaded(tmp_path / "saved")
    assert again.system.machine.digest() == target.system.machine.digest()
    again.ask()
    assert again.script.reports == [change]
    assert again.system.machine.digest() == target.system.machine.digest()
    for each in (target, again):
        each.go()
        each.system.machine.run(until=each.system.machine.clock.now() + 200_000)
    assert again.system.machine.digest() == target.system.machine.digest()
    for each in (target, again):
        each.system.close()


def test_a_prompt_is_asked_by_the_loaded_machine(tmp_path: Path):
    target = Debugged()
    target.run_to_stop()
    text = target.kernel.address("KdPrintDefaultCircularBuffer")
    target.one(Api.WRITE_VIRTUAL, MemoryArguments(text, 5), b"Name?")
    service = target.debug_service
    target.set_registers(rip=service, rax=2, rcx=text, rdx=5, r8=text + 64, r9=4)
    target.go()
    assert target.system.machine.run().reason is Reason.DEBUG
    target.system.machine.save(tmp_path / "saved")
    again = Debugged.loaded(tmp_path / "saved")
    again.script.answer = b"Ann"
    again.ask()
    assert [question.prompt for question in again.script.questions] == [b"Name?"]
    assert again.kernel.memory.read(text + 64, 3) == b"Ann"
    assert again.stub.stop is None
    for each in (target, again):
        each.system.close()


def test_a_machine_saved_after_it_was_let_go_is_free(tmp_path: Path):
    target = Debugged()
    target.run_to_stop()
    target.go()
    target.system.machine.save(tmp_path / "saved")
    assert Debugged.loaded(tmp_path / "saved").stub.stop is None


LOADED = """
import sys
from pathlib import Path
from kdsim.target.lab import find_lab
from kdsim.target.system import System
from tests.target.debugging import debug, listen
saved, pipe, *arguments = sys.argv[1:]
system = System.resume(Path(saved), find_lab("lab"), listen(Path(pipe)), [].append)
sys.stdout.write(debug(system, Path(pipe), *arguments))
print(system.machine.digest())
"""

LOOK = ".lastevent; r; kn; ~; bl; lm; !process -1 1"
MOVE = "p; bp nt!ExAllocatePoolWithTag; g; kn; r; bc *; g nt!KeSetEvent; kn; ~0s; r; !poolused 2"
DEAD = "!analyze -v; ~1s; kn; g; r; g; kn"
SESSIONS = {
    "int3": ("-c", f"{LOOK}; {MOVE}; q"),
    "single step": ("-c", f"{LOOK}; {MOVE}; q"),
    # -d stops at the notice, which would be passed otherwise.
    "module notice": ("-d", "-c", f"{LOOK}; {MOVE}; q"),
    "exception": ("-c", f"{LOOK}; gn; {DEAD}; q"),
    "bug check": ("-c", f"{LOOK}; {DEAD}; q"),
}


@pytest.mark.parametrize("kind", SESSIONS)
def test_a_debugger_sees_no_difference(tmp_path: Path, kind):
    target = Debugged()
    KINDS[kind](target)
    target.system.machine.save(tmp_path / "saved")
    pipe = tmp_path / "kd"
    loaded = subprocess.run(
        [sys.executable, "-c", LOADED, str(tmp_path / "saved"), str(pipe), *SESSIONS[kind]],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    connection = target.system.connection = target.stub._connection = listen(pipe)
    never_saved = debug(target.system, pipe, *SESSIONS[kind])
    connection.close()
    assert loaded == never_saved + target.system.machine.digest() + "\n"
    assert "nt!" in never_saved
    target.system.close()
