"""`kd -kl`: the local server and client, how machines are found, LocalBackend."""

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdsim.debugger.backends.base import Caps, Resume
from kdsim.debugger.backends.local import LocalBackend
from kdsim.errors import ProtocolError, TargetError, TargetGone, Unsupported, UserError
from kdsim.wire import local
from kdsim.wire.links import open_unix
from kdsim.wire.local import FrameReader, LocalServer, connect_local, encode_frame
from kdsim.wire.manipulate import Api, Manipulate, MemoryArguments, Status, VersionArguments

SIZE = 0x30000


@pytest.fixture(autouse=True)
def _own_runtime_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


class Machine:
    """Memory from address 0 on, served in a thread."""

    def __init__(self, name):
        self.memory = bytearray(os.urandom(SIZE))
        self.server = LocalServer(name, self._answer)
        self._done = False
        self._thread = threading.Thread(target=self._main, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._done = True
        self._thread.join(60)
        self.server.close()

    def _main(self):
        while not self._done:
            self.server.wait(0.01)

    def _answer(self, message):
        address, size, _ = message.arguments(MemoryArguments)
        if message.api == Api.GET_VERSION:
            return message.reply(arguments=VersionArguments(15, 19041, kernel_base=0x1000))
        if message.api in (Api.READ_VIRTUAL, Api.READ_PHYSICAL):
            data = bytes(self.memory[address : address + size])
            status = Status.SUCCESS if len(data) == size else Status.UNSUCCESSFUL
            return message.reply(status, MemoryArguments(address, size, len(data)), data)
        if message.api in (Api.WRITE_VIRTUAL, Api.WRITE_PHYSICAL):
            count = min(size, max(0, SIZE - address))
            self.memory[address : address + count] = message.data[:count]
            return message.reply(arguments=MemoryArguments(address, size, count))
        return message.reply(Status.UNSUCCESSFUL)


def test_reads_and_writes():
    with Machine("lab") as machine:
        backend = LocalBackend()
        backend.connect(None)
        assert backend.description == "local:lab"
        assert backend.version().kernel_base == 0x1000
        assert backend.read_virtual(5, 0x21000) == machine.memory[5:0x21005]
        assert backend.read_virtual(SIZE - 3, 10) == machine.memory[-3:]
        assert backend.write_virtual(7, bytes(0x18000)) == 0x18000
        assert machine.memory[7:0x18007] == bytes(0x18000)
        assert backend.write_physical(1, b"ab") == 2
        assert backend.read_physical(1, 2) == b"ab"
        with pytest.raises(TargetError, match="control space 2"):
            backend.read_control_space(0, 2, 8)
        assert backend.wait(None) is None
        backend.close()


@pytest.mark.parametrize(
    ("call", "what"),
    [
        pytest.param(lambda b: b.resume(Resume()), Caps.RUN, id="resume"),
        pytest.param(lambda b: b.break_in(), Caps.RUN, id="break-in"),
        pytest.param(lambda b: b.reboot(), Caps.RUN, id="reboot"),
        pytest.param(lambda b: b.bugcheck(), Caps.RUN, id="bugcheck"),
        pytest.param(lambda b: b.answer_prompt(""), Caps.RUN, id="prompt"),
        pytest.param(lambda b: b.read_context(0), Caps.REGISTERS, id="read context"),
        pytest.param(lambda b: b.write_context(0, b""), Caps.REGISTERS, id="write context"),
        pytest.param(lambda b: b.switch_processor(1), Caps.REGISTERS, id="switch processor"),
        pytest.param(lambda b: b.write_control_space(0, 2, b""), Caps.REGISTERS, id="control"),
        pytest.param(lambda b: b.read_msr(1), Caps.MSR, id="read msr"),
        pytest.param(lambda b: b.write_msr(1, 2), Caps.MSR, id="write msr"),
        pytest.param(lambda b: b.set_breakpoint(1), Caps.BREAKPOINTS, id="set breakpoint"),
        pytest.param(lambda b: b.clear_breakpoint(1), Caps.BREAKPOINTS, id="clear breakpoint"),
    ],
)
def test_refusals_give_the_reason(call, what):
    backend = LocalBackend()
    assert what not in backend.caps
    with pytest.raises(Unsupported) as refusal:
        call(backend)
    assert str(refusal.value) == backend.refusals[what]
    assert "keeps running" in str(refusal.value)


def test_two_debuggers_at_once():
    with Machine("lab") as machine:
        first, second = connect_local("lab"), connect_local("lab")
        for client in (first, second, first):
            request = Manipulate.request(Api.READ_VIRTUAL, MemoryArguments(4, 8))
            assert client.request(request).data == machine.memory[4:12]
        first.close()
        second.close()


def test_no_machine_runs():
    with pytest.raises(TargetGone, match="no machine runs here"):
        LocalBackend().connect(None)
    with pytest.raises(TargetGone, match="not connected"):
        LocalBackend().version()


def test_machines_are_found_by_name():
    with Machine("lab"), Machine("other"):
        assert local.running_machines() == ["lab", "other"]
        connect_local("other").close()
        with pytest.raises(UserError, match="choose one with --machine: lab, other"):
            connect_local()
        with pytest.raises(TargetGone, match=r"no machine named 'x' runs here \(running: lab,"):
            connect_local("x")
    assert local.running_machines() == []


def test_a_taken_name_gets_a_number():
    with Machine("lab") as first, Machine("lab") as second:
        assert (first.server.name, second.server.name) == ("lab", "lab-2")


def test_a_dead_machine_s_socket_is_replaced(tmp_path):
    server = LocalServer("lab", lambda message: message)
    server._listener.close()
    assert local.running_machines() == []
    with Machine("lab") as machine:
        assert machine.server.name == "lab"
    server.close()


def test_a_machine_that_ends(tmp_path):
    with Machine("lab"):
        client = connect_local()
    with pytest.raises(TargetGone, match="the machine 'lab' has ended"):
        client.request(Manipulate.request(Api.GET_VERSION))
    client.close()


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../up", "nul\0"])
def test_names_that_are_none(name):
    with pytest.raises(UserError, match="is not a machine's name"):
        local.socket_path(name)


def test_a_directory_others_can_use_is_refused(tmp_path):
    local.runtime_directory().chmod(0o755)
    with pytest.raises(TargetError, match="must be a directory that only you can use"):
        local.runtime_directory()


def test_runtime_directory_without_xdg(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert local.runtime_directory() == tmp_path / f"kdsim-{os.getuid()}"


def test_nonsense_ends_one_client_only():
    with Machine("lab") as machine:
        stranger = open_unix(local.socket_path("lab"))
        stranger.sendall(b"\xff" * 64)
        stranger.settimeout(5)
        assert stranger.recv(10) == b""
        stranger.close()
        client = connect_local("lab")
        request = Manipulate.request(Api.READ_VIRTUAL, MemoryArguments(0, 4))
        assert client.request(request).data == machine.memory[:4]
        client.close()


@given(
    st.lists(st.builds(Manipulate, st.binary(min_size=56, max_size=56), st.binary(max_size=99))),
    st.integers(1, 50),
)
def test_frames_in_any_pieces(messages, step):
    stream = b"".join(map(encode_frame, messages))
    reader, found = FrameReader(), []
    for start in range(0, len(stream), step):
        found += reader.feed(stream[start : start + step])
    assert found == messages


@given(st.binary(max_size=200))
def test_any_bytes_give_frames_or_protocol_error(data):
    try:
        messages = FrameReader().feed(data)
    except ProtocolError:
        return
    assert b"".join(map(encode_frame, messages)) == data[: sum(60 + len(m.data) for m in messages)]


def test_a_message_too_long_for_a_frame():
    with pytest.raises(ProtocolError, match="local message of 65593 bytes"):
        encode_frame(Manipulate(bytes(56), bytes(65537)))
