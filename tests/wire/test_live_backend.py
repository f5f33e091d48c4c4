"""LiveBackend against a small target over real sockets: UDP, Unix, TCP."""

import gc
import os
import signal
import socket
import threading
import time

import pytest

from kdsim.debugger.backends.base import (
    CommandEvent,
    ModuleEvent,
    PrintEvent,
    PromptEvent,
    Reconnected,
    Resume,
    StopEvent,
)
from kdsim.debugger.backends.live import LiveBackend
from kdsim.errors import MemoryFault, NotHalted, TargetError, TargetGone
from kdsim.wire import links
from kdsim.wire.context import Context, SpecialRegisters
from kdsim.wire.host_connection import HostConnection
from kdsim.wire.interrupts import Deferrable
from kdsim.wire.kdcom import KdcomHost, KdcomTarget
from kdsim.wire.manipulate import Api
from kdsim.wire.messages import CommandStringChange, LoadSymbolsChange
from kdsim.wire.serial import PseudoTerminal
from kdsim.wire.target_connection import TargetConnection
from kdsim.wire.transport import open_target_net
from tests.ports import free_udp_port
from tests.wire.fake_target import BASE, PAGE, PHYSICAL, SIZE, VERSION, FakeTarget

KEY = "1.2.3.4"
PATIENCE = 60


def over_net(tmp_path):
    backend = LiveBackend.from_text("net:port=0", key=KEY)
    return backend, open_target_net("127.0.0.1", backend.port, KEY)


def over_pipe(tmp_path):
    target = TargetConnection(KdcomTarget(), links.unix_listen(tmp_path / "kd"))
    return LiveBackend.from_text(f"com:pipe,port={tmp_path / 'kd'}"), target


def over_tcp(tmp_path):
    listener = links.tcp_listen(0)
    target = TargetConnection(KdcomTarget(), listener)
    return LiveBackend.from_text(f"com:ipport={listener.local[1]},port=127.0.0.1"), target


def over_pty(tmp_path):
    line = PseudoTerminal()
    target = TargetConnection(KdcomTarget(), line)
    return LiveBackend.from_text(f"com:port={line.path}"), target


WAYS = [over_net, over_pipe, over_tcp, over_pty]
EVERY_WAY = pytest.mark.parametrize("way", WAYS)


@pytest.fixture(params=WAYS)
def pair(request, tmp_path):
    """A connected backend and a running target."""
    backend, connection = request.param(tmp_path)
    with FakeTarget(connection) as target:
        backend.connect(PATIENCE)
        yield backend, target
        backend.close()


@pytest.fixture
def stopped(pair):
    backend, _ = pair
    backend.break_in()
    assert isinstance(backend.wait(PATIENCE), StopEvent)
    return pair


def attach(way, tmp_path):
    """Attach, break in and leave; what had to be sent again for it."""
    backend, connection = way(tmp_path)
    with FakeTarget(connection) as target:
        backend.connect(PATIENCE)
        backend.break_in()
        event = backend.wait(PATIENCE)
        version = backend.version()
        again = backend.wire_state().repetitions + connection.endpoint.repetitions
        backend.close()
    assert isinstance(event, StopEvent)
    assert (version.minor, version.kernel_base) == (VERSION.minor, VERSION.kernel_base)
    assert target.cleared == list(range(1, 33))
    return again


@EVERY_WAY
def test_attach_takes_no_retransmission(way, tmp_path):
    """Unless the host lets one side wait for half a second, which it does not do each time."""
    assert any(not attach(way, tmp_path) for _ in range(5))


def test_stop_event(pair):
    backend, target = pair
    target.contexts[0].set("rip", BASE + 0x123)
    backend.break_in()
    event = backend.wait(PATIENCE)
    assert event == StopEvent(
        processor=0,
        processors=2,
        thread=0xFFFF800000001000,
        pc=BASE + 0x123,
        code=0x80000003,
        address=BASE + 0x123,
        parameters=(0,),
        first_chance=True,
        dr7=0x455,
    )


@EVERY_WAY
def test_target_that_stopped_before_we_came(way, tmp_path):
    """Attaching alone makes it tell; no break-in is needed."""
    backend, connection = way(tmp_path)
    with FakeTarget(connection, halted=True):
        backend.connect(PATIENCE)
        assert isinstance(backend.wait(PATIENCE), StopEvent)
        assert backend.wait(0) is None, "one stop, one event"
        assert backend.read_virtual(BASE, 4) == bytes(range(4))
        backend.close()


def test_break_in_at_a_stop_says_nothing_new(stopped):
    backend, _ = stopped
    backend.break_in()
    assert backend.wait(0.05) is None
    assert backend.read_virtual(BASE, 4) == bytes(range(4))
    backend.resume(Resume())
    assert backend.wait(0.05) is None


@pytest.mark.parametrize(
    ("va", "size", "readable"),
    [
        pytest.param(BASE + 3, 10, 10, id="few"),
        pytest.param(BASE, 2 * PAGE, 2 * PAGE, id="several packets"),
        pytest.param(BASE + PAGE, 2 * PAGE, PAGE, id="up to the hole"),
        pytest.param(BASE + 2 * PAGE - 5, 10, 5, id="short prefix"),
        pytest.param(BASE + 2 * PAGE, 10, 0, id="nothing"),
        pytest.param(BASE + SIZE - 4, 100, 4, id="end of memory"),
        pytest.param(2**64 - 8, 100, 0, id="end of the address space"),
        pytest.param(BASE, 0, 0, id="zero bytes"),
    ],
)
def test_read_gives_the_readable_prefix(stopped, va, size, readable):
    backend, target = stopped
    assert backend.read_virtual(va, size) == target.memory[va - BASE : va - BASE + readable]


def test_write_virtual(stopped):
    backend, target = stopped
    data = bytes(reversed(range(250))) * 10
    assert backend.write_virtual(BASE + 7, data) == 2500
    assert target.memory[7:2507] == data
    assert backend.write_virtual(BASE + 2 * PAGE - 4, b"abcdefgh") == 4
    assert backend.write_virtual(BASE + 2 * PAGE, b"abcdefgh") == 0


def test_physical_memory(stopped):
    backend, target = stopped
    assert backend.write_physical(PHYSICAL + 5, b"phys") == 4
    assert backend.read_physical(PHYSICAL + 4, 6) == b"\x04phys\x09"
    assert Api.READ_PHYSICAL in target.requests


def test_context(stopped):
    backend, target = stopped
    context = Context(backend.read_context(1))
    context.set("rip", 0x1234)
    backend.write_context(1, context.raw)
    assert target.contexts[1].get("rip") == 0x1234
    with pytest.raises(TargetError, match="context of processor 9 cannot be read"):
        backend.read_context(9)


def test_context_is_written_at_a_stop_where_it_was_not_read(stopped):
    """A target refuses SetContext before any GetContext of the same stop."""
    backend, target = stopped
    context = Context()
    context.set("rax", 7)
    backend.write_context(0, context.raw)
    assert target.contexts[0].get("rax") == 7


def test_control_space(stopped):
    backend, target = stopped
    target.special[1].set("cr3", 0x1AD000)
    special = SpecialRegisters(backend.read_control_space(1, 2, 0xF0))
    assert special.get("cr3") == 0x1AD000
    special.set("cr8", 2)
    backend.write_control_space(1, 2, special.raw)
    assert target.special[1].get("cr8") == 2
    with pytest.raises(TargetError, match="control space 7"):
        backend.read_control_space(0, 7, 8)


def test_msr_and_ports(stopped):
    backend, target = stopped
    assert backend.read_msr(0xC0000080) == 0xD01
    backend.write_msr(0xC0000082, 0xFFFFF80012345678)
    assert target.msrs[0xC0000082] == 0xFFFFF80012345678
    with pytest.raises(TargetError, match="MSR 0x999 cannot be read"):
        backend.read_msr(0x999)
    with pytest.raises(TargetError, match="out of range"):
        backend.read_msr(2**32)
    assert backend.read_io(0x60, 2) == 0x3344
    with pytest.raises(TargetError, match="port 0x61 cannot be written"):
        backend.write_io(0x61, 1, 3)


def test_breakpoints(stopped):
    backend, target = stopped
    handle = backend.set_breakpoint(BASE + 0x10)
    assert target.breakpoints == {handle: BASE + 0x10}
    backend.clear_breakpoint(handle)
    assert target.breakpoints == {}
    with pytest.raises(TargetError, match="no breakpoint with handle"):
        backend.clear_breakpoint(handle)
    with pytest.raises(MemoryFault) as failure:
        backend.set_breakpoint(BASE + 2 * PAGE)
    assert failure.value.address == BASE + 2 * PAGE


def test_resume(stopped):
    backend, target = stopped
    backend.resume(Resume())
    assert tuple(target.continued.get(timeout=PATIENCE)) == (0x10002, 0, 0x455, 1, 0)
    with pytest.raises(NotHalted):
        backend.read_virtual(BASE, 1)
    backend.break_in()
    backend.wait(PATIENCE)
    backend.resume(Resume(trace=True, dr7=0x401))
    assert tuple(target.continued.get(timeout=PATIENCE)) == (0x10002, 1, 0x401, 1, 0)


def test_written_dr7_stays(stopped):
    backend, target = stopped
    special = SpecialRegisters(backend.read_control_space(0, 2, 0xF0))
    special.set("dr7", 0x703)
    backend.write_control_space(0, 2, special.raw)
    backend.resume(Resume())
    assert target.continued.get(timeout=PATIENCE).dr7 == 0x703


def test_prints_come_in_order_and_the_target_goes_on(pair):
    backend, target = pair
    texts = [b"line %d\n" % number for number in range(5)] + [bytes(range(32, 250)) * 20]
    for text in texts:
        target.print(text)
    printed = ""
    while len(printed) < sum(map(len, texts)):
        event = backend.wait(PATIENCE)
        assert isinstance(event, PrintEvent)
        printed += event.text
    assert printed.encode("latin-1") == b"".join(texts)
    assert all(target.printed.get(timeout=PATIENCE) for _ in texts)


def test_prompt(pair):
    backend, target = pair
    target.ask(b"Break, Ignore (bi)? ", 3)
    assert backend.wait(PATIENCE) == PromptEvent("Break, Ignore (bi)? ", 3)
    backend.answer_prompt("ignore")
    assert target.answers.get(timeout=PATIENCE) == b"ign"
    with pytest.raises(TargetError, match="asked nothing"):
        backend.answer_prompt("again")


def test_module_and_command_stops(pair):
    backend, target = pair
    target.stop(
        LoadSymbolsChange(
            1, 2, 3, 4, base=BASE, process_id=4, checksum=5, size=6, path="\\x\\a.sys"
        )
    )
    assert backend.wait(PATIENCE) == ModuleEvent(
        processor=1,
        processors=2,
        thread=3,
        pc=4,
        base=BASE,
        size=6,
        checksum=5,
        process_id=4,
        path="\\x\\a.sys",
        unload=False,
    )
    backend.resume(Resume())
    target.continued.get(timeout=PATIENCE)
    target.stop(CommandStringChange(1, 2, 3, 4, name="driver", command=".echo hi"))
    assert backend.wait(PATIENCE) == CommandEvent(1, 2, 3, 4, "driver", ".echo hi")


def test_switch_processor(stopped):
    backend, _ = stopped
    backend.switch_processor(1)
    event = backend.wait(PATIENCE)
    assert isinstance(event, StopEvent)
    assert event.processor == 1


def test_bugcheck_stops_again(stopped):
    backend, _ = stopped
    backend.bugcheck()
    assert isinstance(backend.wait(PATIENCE), StopEvent)


def test_reboot(stopped):
    backend, target = stopped
    backend.version()
    target.cleared.clear()
    backend.reboot()
    target.stop(target.breakpoint())
    assert isinstance(backend.wait(PATIENCE), Reconnected)
    assert isinstance(backend.wait(PATIENCE), StopEvent)
    assert target.cleared == list(range(1, 33))
    assert backend.version().kernel_base == BASE


def test_reboot_with_a_farewell_is_one_event(stopped):
    backend, target = stopped
    farewell = LoadSymbolsChange(0, 1, 0, 0, base=2**64 - 1, unload=True)
    target.restart = lambda: target.stop(farewell)
    backend.reboot()
    assert backend.wait(PATIENCE) == Reconnected("the target is shutting down")
    target.continued.get(timeout=PATIENCE)
    target.order(lambda connection: connection.restart())
    target.stop(target.breakpoint())
    assert isinstance(backend.wait(PATIENCE), StopEvent)


def test_farewell(pair):
    """The target unloads everything: it leaves, and comes back as a new one."""
    backend, target = pair
    target.stop(LoadSymbolsChange(0, 1, 0, 0, base=2**64 - 1, unload=True))
    event = backend.wait(PATIENCE)
    assert event == Reconnected("the target is shutting down")
    assert target.continued.get(timeout=PATIENCE).status == 0x10002
    target.order(lambda connection: connection.restart())
    target.stop(target.breakpoint())
    assert isinstance(backend.wait(PATIENCE), StopEvent)


def test_wait_returns_none_in_time(pair):
    backend, _ = pair
    start = time.perf_counter()
    assert backend.wait(0) is None
    assert backend.wait(0.1) is None
    assert time.perf_counter() - start >= 0.1


def test_ctrl_c_leaves_wait_and_the_connection_works_on(stopped):
    backend, _ = stopped
    backend.resume(Resume())
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        backend.wait(None)
    timer.join()
    backend.break_in()
    assert isinstance(backend.wait(PATIENCE), StopEvent)
    assert backend.read_virtual(BASE, 4) == bytes(range(4))


@pytest.mark.parametrize(
    "handler",
    [signal.default_int_handler, Deferrable(signal.default_int_handler)],
    ids=["default", "deferrable"],
)
def test_ctrl_c_at_any_moment_tears_nothing(stopped, handler):
    backend, target = stopped
    before = signal.signal(signal.SIGINT, handler)
    previous = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    # An exception in a callback of the collector, which hypothesis installs, would be swallowed.
    gc.disable()
    try:
        for moment in range(150):
            with pytest.raises(KeyboardInterrupt):  # noqa: PT012
                signal.setitimer(signal.ITIMER_REAL, 0.0002 + moment * 0.00001)
                for _ in range(10_000):
                    backend.read_virtual(BASE + moment, 0x1800)
            assert backend.read_virtual(BASE + moment, 8) == target.memory[moment : moment + 8]
    finally:
        gc.enable()
        signal.signal(signal.SIGALRM, previous)
        signal.signal(signal.SIGINT, before)


# ------------------------------------------------------------------------- when things go wrong


def test_wrong_key_is_silence(tmp_path):
    backend = LiveBackend.from_text("net:port=0,key=9.9.9.9")
    with FakeTarget(open_target_net("127.0.0.1", backend.port, KEY)) as target:
        with pytest.raises(TargetGone, match=r"no target answered.*sealed with another key"):
            backend.connect(0.3)
        assert target.events == []
    backend.close()


def test_no_target_answers():
    backend = LiveBackend.from_text("net:port=0,key=1.2.3.4")
    with pytest.raises(TargetGone, match=r"no target answered on net:port=\d+$"):
        backend.connect(0.05)
    backend.close()


def test_port_in_use():
    backend = LiveBackend.from_text("net:port=0,key=1.2.3.4")
    with pytest.raises(TargetError, match=f"UDP port {backend.port} is in use"):
        LiveBackend.from_text(f"net:port={backend.port},key=1.2.3.4")
    backend.close()


@pytest.mark.parametrize("text", ["com:pipe,port={}/nobody", "com:ipport=1,port=127.0.0.1"])
def test_nobody_listens(text, tmp_path):
    with pytest.raises(TargetGone, match="nothing listens at"):
        LiveBackend.from_text(text.format(tmp_path))


def test_reconnect_waits_for_a_listener(tmp_path):
    backend = LiveBackend.from_text(f"com:pipe,port={tmp_path / 'kd'},reconnect")
    with pytest.raises(TargetGone, match="no target answered"):
        backend.connect(0.05)
    connection = TargetConnection(KdcomTarget(), links.unix_listen(tmp_path / "kd"))
    with FakeTarget(connection, halted=True):
        backend.connect(PATIENCE)
        assert isinstance(backend.wait(PATIENCE), StopEvent)
    with FakeTarget(
        TargetConnection(KdcomTarget(), links.unix_listen(tmp_path / "kd")), halted=True
    ):
        assert isinstance(backend.wait(PATIENCE), Reconnected)
        assert isinstance(backend.wait(PATIENCE), StopEvent)
    backend.close()


def test_stream_target_that_ends(tmp_path):
    backend, connection = over_pipe(tmp_path)
    with FakeTarget(connection, halted=True):
        backend.connect(PATIENCE)
        backend.wait(PATIENCE)
    with pytest.raises(TargetGone, match="the target closed the connection"):
        backend.read_virtual(BASE, 4)
    with pytest.raises(TargetGone):
        backend.wait(1)
    backend.close()


def test_silent_net_target_is_gone(tmp_path):
    """For whoever asks it something; one that runs is waited for."""
    backend, connection = over_net(tmp_path)
    backend.give_up_after(0.5)
    with FakeTarget(connection, halted=True):
        backend.connect(PATIENCE)
        backend.wait(PATIENCE)
    with pytest.raises(TargetGone, match="does not answer"):
        backend.read_virtual(BASE, 4)
    assert backend.wait(0.5) is None
    backend.close()


@EVERY_WAY
def test_the_next_debugger_finds_a_halted_target(way, tmp_path):
    """`q` leaves the target stopped; whoever comes next gets its state at once."""
    backend, connection = way(tmp_path)
    text = f"net:port={backend.port},key={KEY}" if way is over_net else None
    with FakeTarget(connection, halted=True):
        backend.connect(PATIENCE)
        assert isinstance(backend.wait(PATIENCE), StopEvent)
        backend.close()
        if way is over_tcp:
            text = f"com:ipport={connection.link.local[1]},port=127.0.0.1"
        elif way is not over_net:
            text = connection.description
        times = []
        for _ in range(3):
            start = time.perf_counter()
            following = LiveBackend.from_text(text)
            following.connect(PATIENCE)
            assert isinstance(following.wait(PATIENCE), StopEvent)
            assert following.read_virtual(BASE, 4) == bytes(range(4))
            following.close()
            times.append(time.perf_counter() - start)
        assert min(times) < 1, "sooner than the next poke or retransmission"


def test_only_one_debugger_at_a_time_on_a_stream(tmp_path):
    backend, connection = over_pipe(tmp_path)
    with FakeTarget(connection, halted=True):
        backend.connect(PATIENCE)
        backend.wait(PATIENCE)
        second = HostConnection(KdcomHost(), links.unix_connect(tmp_path / "kd"))
        with pytest.raises(TargetGone, match="the target closed the connection"):  # noqa: PT012
            second.open(PATIENCE)
            second.wait(PATIENCE)
        second.close()
        assert backend.read_virtual(BASE, 4) == bytes(range(4))
        backend.close()


@pytest.mark.parametrize("way", [over_net, over_pipe, over_tcp])
def test_prints_without_a_debugger_cost_nothing(way, tmp_path):
    backend, connection = way(tmp_path)
    with FakeTarget(connection) as target:
        backend.connect(PATIENCE)
        backend.close()
        target.print(b"one")
        target.print(b"two")
        assert not target.printed.get(timeout=PATIENCE)
        assert not target.printed.get(timeout=PATIENCE)
        assert not connection.endpoint.repetitions


def test_a_repeated_stop_is_not_the_answer_to_a_switch(stopped):
    backend, target = stopped
    backend.break_in()
    backend.read_virtual(BASE, 4)
    backend.switch_processor(1)
    assert backend.wait(PATIENCE).processor == 1
    assert backend.wait(0.05) is None
    backend.resume(Resume())
    assert backend.wait(0.05) is None
    assert target.processor == 1


def test_only_one_debugger_at_a_time_on_a_line(tmp_path):
    backend, connection = over_pty(tmp_path)
    with FakeTarget(connection, halted=True):
        backend.connect(PATIENCE)
        backend.wait(PATIENCE)
        with pytest.raises(TargetGone, match="in use by another debugger"):
            LiveBackend.from_text(connection.description)
        assert backend.read_virtual(BASE, 4) == bytes(range(4))
        backend.close()


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        pytest.param("/nowhere/ttyS0", "cannot be opened: No such file", id="missing"),
        pytest.param("/dev/null", "is not a serial line", id="no terminal"),
    ],
)
def test_no_serial_line(place, complaint):
    with pytest.raises(TargetGone, match=complaint):
        LiveBackend.from_text(f"com:port={place}")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1", "::1"])
def test_any_kind_of_address(address):
    port = free_udp_port()
    backend = LiveBackend.from_text(f"net:port={port}", key=KEY)
    with FakeTarget(open_target_net(address, port, KEY)):
        backend.connect(PATIENCE)
        backend.break_in()
        assert isinstance(backend.wait(PATIENCE), StopEvent)
        assert backend.read_virtual(BASE, 4) == bytes(range(4))
        assert backend.peer == address.removeprefix("::ffff:")
        backend.close()


def test_a_target_that_goes_on_from_another_port():
    """As after a restart: the debugger answers where the last handshake came from."""
    backend = LiveBackend.from_text("net:port=0", key=KEY)
    for _ in range(2):
        with FakeTarget(open_target_net("127.0.0.1", backend.port, KEY), halted=True):
            backend.connect(PATIENCE)
            while not isinstance(backend.wait(PATIENCE), StopEvent):
                pass
            assert backend.read_virtual(BASE, 4) == bytes(range(4))
    backend.close()
