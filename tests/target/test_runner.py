"""`kdsim target` as a process: how it is reached, what it says, how it ends."""

import ctypes
import operator
import os
import select
import signal
import socket
import time
from contextlib import closing
from itertools import starmap

import pytest

from kdsim.target.runner import Signals, Terminated
from kdsim.wire.endpoint import Connected
from kdsim.wire.links import unix_listen
from kdsim.wire.local import LocalClient, running_machines
from kdsim.wire.manipulate import Api, Continue2Arguments, Manipulate
from kdsim.wire.messages import ExceptionChange, LoadSymbolsChange
from kdsim.wire.requests import Requests
from kdsim.wire.transport import NetTransport, PipeTransport, TcpTransport, open_host
from tests.ports import free_tcp_port
from tests.target.process import TargetProcess

KEY = "1.2.3.kdsim"


pytestmark = pytest.mark.usefixtures("runtime")


class Host:
    """A debugger of a few lines over the wire room's connection."""

    def __init__(self, transport) -> None:
        self.connection = open_host(transport)
        self.requests = Requests(self.connection.request, 0x400, 0x400)

    def next(self, kind, timeout: float = 20.0):
        """The next event of that kind."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            event = self.connection.wait(end - time.monotonic())
            if isinstance(event, kind):
                return event
        raise AssertionError(f"no {kind}")

    def go(self) -> None:
        self.connection.post(Manipulate.request(Api.CONTINUE2, Continue2Arguments(0x10002)))

    def skip_and_go(self, change: ExceptionChange) -> None:
        """Continue behind a hard-coded int 3."""
        raw = bytearray(self.requests.context(change.processor))
        raw[0xF8:0x100] = (change.pc + 1).to_bytes(8, "little")
        self.requests.set_context(change.processor, bytes(raw))
        self.go()

    def __enter__(self):
        self.connection.open(20)
        return self

    def __exit__(self, *_):
        self.connection.close()


@pytest.fixture(params=["net", "unix", "tcp"])
def debugged(request, runtime):
    """A waiting target and its debugger at the initial break."""
    if request.param == "net":
        host = Host(NetTransport(0, KEY))
        port = host.connection.link.local[1]
        arguments = ("--port", str(port))
    elif request.param == "unix":
        path = runtime / "kd"
        arguments = ("--com", f"unix:{path}")
    else:
        port = free_tcp_port()
        arguments = ("--com", f"tcp:{port}")
    with TargetProcess(runtime, "lab", "--wait", "--seed", "1", *arguments, key=KEY) as target:
        target.banner()
        if request.param == "unix":
            host = Host(PipeTransport(path))
        elif request.param == "tcp":
            host = Host(TcpTransport("127.0.0.1", port))
        with host:
            yield target, host


def test_a_session_over_each_transport(debugged):
    target, host = debugged
    change = host.next(ExceptionChange)
    assert change.code == 0x80000003
    version = host.requests.version()
    assert host.requests.read(Api.READ_VIRTUAL, version.kernel_base, 0x1000)[:2] == b"MZ"
    host.skip_and_go(change)
    load = host.next(LoadSymbolsChange)
    assert load.path.endswith("leaky.sys")
    host.go()
    time.sleep(0.3)
    host.connection.break_in()
    assert host.next(ExceptionChange).code == 0x80000003
    target.process.terminate()
    farewell = host.next(LoadSymbolsChange)
    assert (farewell.base, farewell.unload) == ((1 << 64) - 1, True)
    host.go()
    assert target.wait() == (0, "")


def test_a_restart_comes_back_to_its_initial_break(debugged):
    _, host = debugged
    first = host.next(ExceptionChange)
    host.connection.post(Manipulate.request(Api.REBOOT))
    assert host.next(LoadSymbolsChange).unload
    host.go()
    event = host.next((ExceptionChange, Connected))
    again = event if isinstance(event, ExceptionChange) else host.next(ExceptionChange)
    assert again.pc == first.pc


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_signals_end_it_and_leave_nothing(runtime, number):
    path = runtime / "kd"
    with TargetProcess(runtime, "lab", "--com", f"unix:{path}") as target:
        assert target.banner() == (
            f"lab: Windows 10 x64, 2 processors, 512 MB; attach: kdsim kd -k com:pipe,port={path}\n"
        )
        assert path.exists()
        assert running_machines() == ["lab"]
        assert target.stop(number) == (0, "")
    assert not path.exists()
    assert running_machines() == []


def test_a_signal_just_before_a_wait_ends_the_wait():
    """As it comes to a target that was about to sleep: no bytecode runs between the two."""
    libc = ctypes.PyDLL(None)
    with Signals() as signals:
        poll = select.poll()
        poll.register(signals, select.POLLIN)
        both = [(getattr(libc, "raise"), signal.SIGTERM), (poll.poll, 5000)]
        _, ready = starmap(operator.call, both)
        assert ready
        with pytest.raises(Terminated):
            signals.service()


@pytest.mark.parametrize("wait", [True, False], ids=["halted", "running"])
def test_it_ends_with_its_parent(runtime, wait):
    reader, writer = os.pipe()
    arguments = ["lab", "--parent-pipe", str(reader)] + ["--wait"] * wait
    with TargetProcess(runtime, *arguments, pass_fds=(reader,)) as target:
        target.banner()
        time.sleep(0.5)
        assert target.process.poll() is None
        os.close(writer)
        assert target.wait() == (0, "")
    os.close(reader)


@pytest.mark.parametrize("wait", [True, False], ids=["halted", "idle"])
def test_a_target_with_nothing_to_do_does_nothing(runtime, wait):
    arguments = ["lab"] + ["--wait"] * wait
    with TargetProcess(runtime, *arguments, "--com", f"unix:{runtime / 'kd'}") as target:
        target.banner()
        # On a busy host it may still be booting.
        assert any(target.load(1.0) < (0.05 if wait else 0.3) for _ in range(30))


def test_local_debugging_of_a_running_machine(runtime):
    with TargetProcess(runtime, "lab", "--cpus", "1", "--ram", "256M") as target:
        assert target.banner() == (
            "lab: Windows 10 x64, 1 processor, 256 MB; attach: kdsim kd -kl --machine lab\n"
        )
        with closing(LocalClient("lab")) as client:
            requests = Requests(client.request, 0x1000, 0x1000)
            base = requests.version().kernel_base
            assert requests.read(Api.READ_VIRTUAL, base, 0x1000)[:2] == b"MZ"
            assert not client.request(Manipulate.request(Api.GET_CONTEXT)).succeeded
            assert len(requests.control_space(0, 2, 0xF0)) == 0xF0
        assert target.stop() == (0, "")


def test_a_second_machine_takes_another_name(runtime):
    with TargetProcess(runtime, "lab") as first, TargetProcess(runtime, "lab") as second:
        names = {target.banner().split()[-1] for target in (first, second)}
        assert names == set(running_machines()) == {"lab", "lab-2"}


def test_a_bug_check_that_nobody_debugs_is_one_line(runtime):
    with TargetProcess(runtime, "lab", "--seed", "1") as target:
        target.banner()
        line = target.complaint()
        assert line.startswith("lab: bug check 000000C4 (0000000000000062, ")
        assert line.endswith("waiting for a debugger\n")
        assert target.stop() == (0, "")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        pytest.param(["nosuch"], 2, "no machine named 'nosuch'", id="lab"),
        pytest.param(["bad.toml"], 2, "bad.toml: ram: expected a size", id="toml"),
        pytest.param(["--ram", "1M"], 2, "--ram: expected a size", id="ram"),
        pytest.param(["--cpus", "99"], 2, "--cpus: expected a whole number", id="cpus"),
        pytest.param(["--port", "50000"], 2, "KDNET needs --port and --key", id="no-key"),
        pytest.param(["--host", "127.0.0.1"], 2, "KDNET needs --port and --key", id="no-port"),
        pytest.param(
            ["--port", "70000", "--key", "1.2.3.4"], 2, "port 70000 is not a number", id="port"
        ),
        pytest.param(["--port", "50000", "--key", "1.2.3"], 2, "key", id="key"),
        pytest.param(["--com", "pipe:x"], 2, "neither unix:PATH nor tcp:PORT", id="com"),
        pytest.param(
            ["--com", "tcp:5", "--port", "5"], 2, "exclude each other", id="two-transports"
        ),
        pytest.param(
            ["--com", "unix:/nowhere/x"], 3, "cannot listen at /nowhere/x", id="unix-path"
        ),
        pytest.param(
            ["--host", "no.such.host.invalid", "--port", "50000", "--key", "1.2.3.4"],
            3,
            "host 'no.such.host.invalid' is unknown",
            id="host",
        ),
    ],
)
def test_mistakes_are_one_line(runtime, arguments, status, message):
    bad = runtime / "bad.toml"
    bad.write_text('ram = "much"')
    arguments = [str(bad) if argument == "bad.toml" else argument for argument in arguments]
    with TargetProcess(runtime, *arguments) as target:
        assert target.banner() == ""
        found, text = target.wait()
    assert found == status
    assert text.startswith("kdsim: ")
    assert message in text
    assert text.count("\n") == 1


def test_a_port_in_use(runtime):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with TargetProcess(runtime, "--com", f"tcp:{port}") as target:
            found, text = target.wait()
    assert (found, text) == (
        3,
        f"kdsim: TCP port {port} is in use; another debugger or target may be running\n",
    )


def test_a_socket_in_use_and_a_stale_one(runtime):
    path = runtime / "kd"
    listener = unix_listen(path)
    with TargetProcess(runtime, "--com", f"unix:{path}") as target:
        assert target.wait() == (3, f"kdsim: {path} is in use by another target\n")
    # A socket whose owner died without removing it is replaced.
    listener._listener.close()
    assert path.exists()
    with TargetProcess(runtime, "--com", f"unix:{path}") as target:
        assert "attach" in target.banner()
        assert target.stop() == (0, "")
