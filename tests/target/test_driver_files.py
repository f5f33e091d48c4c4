"""`.kdfiles`: a driver image of the debugger's in place of the target's own, at load."""

import re
from pathlib import Path

import pytest

from kdsim.target.lab import find_lab
from kdsim.target.machine.clock import Clock, ClockMode
from kdsim.target.ntos.images import shipped_images
from kdsim.target.system import System
from kdsim.wire.endpoint import Packet, WireEvent
from kdsim.wire.kdcom import KdcomHost, KdcomTarget
from kdsim.wire.manipulate import (
    Api,
    Continue2Arguments,
    Manipulate,
    RestoreBreakpointArguments,
    Status,
    WriteBreakpointArguments,
)
from kdsim.wire.messages import FileApi, FileIo
from kdsim.wire.packets import PacketType
from kdsim.wire.target_connection import FILE_PATIENCE, TargetConnection
from tests.target.booted import Debugged, names
from tests.target.debugging import debug, listen
from tests.wire.simulated import SimulatedLink

PATH = r"\SystemRoot\System32\drivers\leaky.sys"


@pytest.fixture(scope="module")
def shipped() -> bytes:
    return shipped_images()["leaky.sys"].read_bytes()


def _debugged(folder: Path, *commands: str) -> str:
    """What kd prints from the initial break on, with the machine in this process."""
    connection = listen(folder / "kd")
    system = System.power_on(find_lab("lab"), connection, print, clock=Clock(ClockMode.VIRTUAL))
    try:
        return debug(system, folder / "kd", "-c", ";".join((*commands, "q")))
    finally:
        connection.close()
        system.close()


def test_a_driver_is_replaced_at_load(tmp_path, shipped):
    mine = tmp_path / "leaky.sys"
    mine.write_bytes(shipped.replace(b"This program", b"My own driver"[:12]))
    text = _debugged(
        tmp_path, f".kdfiles -m {PATH} {mine}", "sxe ld:leaky", "g", "da leaky+4e", "lm m leaky"
    )
    size = -(-len(shipped) // 1024)
    assert f"KD: Accessing '{mine}' ({PATH})\n  File size {size}K.\n" in text
    assert f"MmLoadSystemImage: Pulled {PATH} from kd\n" in text
    assert re.search(r"[0-9a-f`]{17}  \"My own drive", text)


def _offering(data: bytes):
    """A debugger that has that file."""

    def answer(request: FileIo) -> FileIo:
        if request.api == FileApi.CREATE:
            return request.created(1, len(data))
        if request.api == FileApi.READ:
            _, offset, length = request.transfer
            return request.read(data[offset : offset + length])
        return request.reply(0)

    return answer


def test_a_machine_saved_between_the_two_services_of_a_load_goes_on_with_the_file(
    tmp_path, shipped
):
    """The debugger's file came with the first; nobody offers it to the loaded machine."""
    target = Debugged()
    target.run_to_stop()
    target.script.files = _offering(shipped.replace(b"This program", b"My own drive"))
    between = target.kernel.address("MiMapDriverImage")
    planted = target.one(Api.WRITE_BREAKPOINT, WriteBreakpointArguments(between))
    handle = planted.arguments(WriteBreakpointArguments).handle
    target.set_registers(rip=target.script.reports[-1].pc + 1)
    target.go()
    while target.run_to_stop().pc != between:
        target.go()
    target.one(Api.RESTORE_BREAKPOINT, RestoreBreakpointArguments(handle))
    saved = tmp_path / "saved"
    target.system.machine.save(saved)

    again = Debugged.loaded(saved)
    again.ask()
    digests = []
    for machine in (target, again):
        machine.go()
        load = machine.run_to_stop()
        assert load.path.endswith("leaky.sys")
        assert machine.read(load.base + 0x4E, 12) == b"My own drive"
        digests.append(machine.system.machine.digest())
        machine.system.close()
    assert digests[0] == digests[1]


GO = Manipulate.request(Api.CONTINUE2, Continue2Arguments(0x10002, 0, 0x400))


def test_a_debugger_that_never_answers_costs_its_patience(tmp_path):
    """It acknowledges each request for a file; the load goes on with the disk's copy."""
    link = SimulatedLink(KdcomHost())
    connection = TargetConnection(KdcomTarget(), link, link.clock)
    connection.wait(0.1)
    system = System.power_on(
        find_lab("lab"), connection, print, clock=Clock(ClockMode.VIRTUAL), break_at_boot=False
    )
    machine = system.machine
    asked = []
    while "leaky.sys" not in names(system.kernel.modules()):
        system.run(until=machine.clock.now() + 10_000_000)
        assert machine.clock.now() < 1_000_000_000
        asked = [FileIo.unpack(event.payload) for event in link.events if _is_file_request(event)]
        if system.stub.stop is not None:
            link.say(PacketType.MANIPULATE, GO.pack())
    assert [request.path for request in asked] == [PATH]
    assert FILE_PATIENCE <= link.now < 2 * FILE_PATIENCE
    system.close()


def _is_file_request(event: WireEvent) -> bool:
    return isinstance(event, Packet) and event.type is PacketType.FILE_IO


def _no_read(request: FileIo) -> FileIo:
    return request.created(1, 0x1000) if request.api == FileApi.CREATE else request.reply(0)


def _endless(request: FileIo) -> FileIo:
    return request.created(1, 1 << 40) if request.api == FileApi.CREATE else request.read(bytes(9))


def _text(request: FileIo) -> FileIo:
    if request.api == FileApi.CREATE:
        return request.created(1, 6)
    return request.read(b"a file") if request.api == FileApi.READ else request.reply(0)


@pytest.mark.parametrize(
    ("files", "loads", "pulled"),
    [
        pytest.param(lambda request: request.reply(Status.NO_SUCH_FILE), True, False, id="refused"),
        pytest.param(lambda request: None, True, False, id="silent"),
        pytest.param(_no_read, True, False, id="breaks off"),
        pytest.param(_endless, True, False, id="too large"),
        pytest.param(_text, False, True, id="not an image"),
    ],
)
def test_any_failure_means_the_targets_own_copy(files, loads, pulled):
    target = Debugged(break_at_boot=False)
    asked = []
    target.script.files = lambda request: asked.append(request) or files(request)
    machine = target.system.machine
    load = target.run_to_stop() if loads else machine.run(until=machine.clock.now() + 30_000_000)
    while loads and not load.path.endswith("leaky.sys"):
        target.go()
        load = target.run_to_stop()
    assert asked[0].path == PATH
    # What was opened is closed.
    opened = [request.api for request in asked if files(request) and not files(request).status]
    assert opened.count(FileApi.CREATE) == opened.count(FileApi.CLOSE)
    assert any("Pulled" in text for text, _ in target.script.prints) == pulled
    target.system.close()
