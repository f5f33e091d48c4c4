"""`kdsim target`: a machine in the foreground, from power-on to power-off."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType
from typing import BinaryIO, NamedTuple, Self, TextIO

from kdsim.errors import UserError
from kdsim.target.lab import Lab, find_lab
from kdsim.target.machine.clock import Clock, ClockMode
from kdsim.target.machine.machine import Reason, Stop
from kdsim.target.system import System
from kdsim.wire.endpoint import Lost
from kdsim.wire.kdcom import KdcomTarget
from kdsim.wire.links import LOOPBACK, Address, Arrival
from kdsim.wire.local import DATA_LIMIT, LocalServer
from kdsim.wire.manipulate import NO_REPLY, Manipulate
from kdsim.wire.messages import LoadSymbolsChange
from kdsim.wire.sealing import VERSION, VERSIONS
from kdsim.wire.target_connection import Request, TargetConnection, Watched
from kdsim.wire.transport import (
    TcpTransport,
    open_target_com,
    open_target_net,
    parse_com_listener,
)

FAREWELL_TIMEOUT = 1.0
"""Seconds a debugger has to take note that the target leaves."""
EVERYTHING = (1 << 64) - 1
"""Base of the unload notice with which a target leaves."""
EXIT_BROKEN = 1


class TargetOptions(NamedTuple):
    """The command line of `kdsim target`."""

    machine: str = "lab"
    host: str | None = None
    port: int | None = None
    key: str = ""
    com: str | None = None
    seed: int | None = None
    processors: int | None = None
    ram: str | None = None
    wait: bool = False
    parent_pipe: int | None = None
    capture: str | None = None
    kdnet_version: int | None = None


def run_target(options: TargetOptions) -> int:
    """Run the machine until it is switched off; the exit status."""
    with ExitStack() as stack:
        watched: list[Watched] = [stack.enter_context(Signals())]
        if options.parent_pipe is not None:
            watched.append(_ParentPipe(options.parent_pipe))
        lab = find_lab(options.machine).changed(
            seed=options.seed, processors=options.processors, ram=options.ram
        )
        connection = _connect(options)
        stack.callback(connection.close)
        runner = Runner(lab, connection, options, watched)
        stack.callback(runner.close)
        _write(sys.stdout, _banner(lab, options, runner.name, connection.description))
        try:
            return runner.run()
        except _ParentGone:
            return 0
        except Terminated:
            # A second signal cuts the farewell short.
            with suppress(Terminated, _ParentGone):
                runner.farewell()
            return 0


class Runner:
    """One machine through all its restarts.

    Args:
        lab: what it is made of.
        connection: the way to the debugger.
        options: the command line.
        watched: what can end it from outside.
    """

    def __init__(
        self,
        lab: Lab,
        connection: TargetConnection,
        options: TargetOptions,
        watched: Sequence[Watched] = (),
    ) -> None:
        self._lab = lab
        self._connection = connection
        connection.notice = self._console
        self._virtual = options.seed is not None
        self._wait = options.wait
        self._system = self._power_on()
        self._listening = not options.wait
        self._local = LocalServer(lab.name, self._answer_locally)
        self._watched = list(watched)
        self._serving = False
        for each in watched:
            connection.watch(each)

    @property
    def name(self) -> str:
        """What `-kl --machine` calls it: another machine may have had the lab's name first."""
        return self._local.name

    def _power_on(self) -> System:
        system = System.power_on(
            self._lab,
            self._connection,
            self._console,
            clock=Clock(ClockMode.VIRTUAL if self._virtual else ClockMode.WALL),
            break_at_boot=self._wait,
        )
        system.machine.poll = self._poll
        return system

    def run(self) -> int:
        while True:
            stop = self._system.run()
            if stop.reason is Reason.DEBUG:
                self._listening = True
                self._serve_locally()
                continue
            self.farewell()
            if stop.reason is not Reason.RESTART:
                return self._ended(stop)
            self._system.close()
            self._connection.restart()
            self._system = self._power_on()

    def _console(self, line: str) -> None:
        _write(sys.stderr, f"{self._lab.name}: {line}")

    def _ended(self, stop: Stop) -> int:
        if stop.reason is Reason.POWER_OFF:
            return 0
        self._console(f"the machine broke down: {stop.detail or stop.reason.value}")
        return EXIT_BROKEN

    def _poll(self, timeout: float | None) -> bool:
        """Between slices: look at the wire; when idle: sleep there.

        With --wait the wire waits for the end of boot, so that every session begins the same.
        """
        if not self._serving and self._system.kernel.described:
            self._serve_locally()
        if self._listening:
            if timeout != 0:
                self._connection.link.wait(self._earlier(timeout))
            self._system.poll()
            return False
        for each in self._watched:
            each.service()
        if timeout is None:
            self._listening = True
        elif timeout:
            time.sleep(timeout)
        return False

    def _earlier(self, timeout: float | None) -> float | None:
        """The timeout, or the time to the wire's own next deadline."""
        deadline = self._connection.endpoint.deadline
        if deadline is None:
            return timeout
        left = max(0.0, deadline - time.monotonic())
        return left if timeout is None else min(timeout, left)

    def _serve_locally(self) -> None:
        """Begin to answer local debuggers; before this point they would find no kernel yet."""
        if not self._serving:
            self._serving = True
            self._watched.append(self._local)
            self._connection.watch(self._local)

    def _answer_locally(self, request: Manipulate) -> Manipulate:
        return self._system.answer_locally(request, DATA_LIMIT)

    def farewell(self) -> None:
        """Tell a debugger that everything it knows is unloaded: the target leaves.

        Some look around once more before they let it go.
        """
        connection = self._connection
        if not connection.present:
            return
        connection.report(LoadSymbolsChange(0, 1, 0, 0, base=EVERYTHING, unload=True))
        end = time.monotonic() + FAREWELL_TIMEOUT
        while (left := end - time.monotonic()) > 0:
            event = connection.wait(left)
            if isinstance(event, Request):
                request = event.message
                if request.api in NO_REPLY:
                    return
                connection.reply(self._system.answer_locally(request, connection.data_limit))
            elif event is None or isinstance(event, Lost):
                return

    def close(self) -> None:
        self._local.close()
        self._system.close()


# -- how to be reached ---------------------------------------------------------------------------


def _connect(options: TargetOptions) -> TargetConnection:
    if options.com is not None:
        if options.host is not None or options.port is not None:
            raise UserError("--com and --host/--port exclude each other")
        return open_target_com(parse_com_listener(options.com), record=_capture(options))
    if options.host is None and options.port is None:
        if options.capture is not None:
            raise UserError("--pcap records a wire: give --port and --key, or --com")
        return TargetConnection(KdcomTarget(), _NoLink())
    if options.port is None or not options.key:
        raise UserError("KDNET needs --port and --key (or --key-file)")
    version = VERSION if options.kdnet_version is None else options.kdnet_version
    if version not in VERSIONS:
        raise UserError(f"KDNET version {version} is not one of {', '.join(map(str, VERSIONS))}")
    if not 0 < options.port < 65536:
        raise UserError(f"port {options.port} is not a number from 1 to 65535")
    return open_target_net(
        options.host or LOOPBACK,
        options.port,
        options.key,
        version=version,
        record=_capture(options),
    )


def _capture(options: TargetOptions) -> BinaryIO | None:
    if options.capture is None:
        return None
    try:
        return Path(options.capture).open("wb")
    except OSError as error:
        raise UserError(f"cannot write {options.capture}: {error.strerror}") from error


def _banner(lab: Lab, options: TargetOptions, name: str, line: str) -> str:
    size = lab.ram >> 20
    plural = "s" if lab.processors > 1 else ""
    if options.com is not None:
        transport = parse_com_listener(options.com)
        if isinstance(transport, TcpTransport):
            line = f"com:ipport={transport.port},port={transport.host}"
        way = f"kdsim kd -k {line}"
    elif options.port is not None:
        way = f"kdsim kd -k net:port={options.port},key=KEY"
    else:
        way = f"kdsim kd -kl --machine {name}"
    return f"{name}: Windows 10 x64, {lab.processors} processor{plural}, {size} MB; attach: {way}"


class _NoLink:
    """A machine without a debug cable: nothing ever comes, and what is sent is lost."""

    description = "no debugger"
    reconnects = False

    def __init__(self) -> None:
        self._poll = select.poll()

    def wait(self, timeout: float | None) -> bool:
        # Rounded up, so that a deadline has passed when the wait for it ends.
        milliseconds = None if timeout is None else int(timeout * 1000 + 0.999)
        return bool(self._poll.poll(milliseconds))

    def watch(self, fd: int) -> None:
        self._poll.register(fd, select.POLLIN)

    def receive(self) -> list[Arrival]:
        return []

    def send(self, pieces: Sequence[bytes], to: Address | None = None) -> None:
        return

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        return


# -- how to end ----------------------------------------------------------------------------------


class _ParentGone(BaseException):
    """The program this machine belongs to has ended."""


class Terminated(BaseException):
    """SIGTERM or SIGINT."""


class _ParentPipe:
    """A pipe whose writing end only the parent holds: it ends when the parent does."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        try:
            os.set_blocking(fd, False)
        except OSError as error:
            raise UserError(f"--parent-pipe {fd}: {error.strerror}") from error

    def fileno(self) -> int:
        return self._fd

    def service(self) -> None:
        try:
            if not os.read(self._fd, 1):
                raise _ParentGone
        except BlockingIOError:
            return


class Signals:
    """SIGTERM and SIGINT become readable on a pipe.

    Raised where they arrive they could interrupt the connection between taking bytes from the link
    and acting on them; `service` is called where nothing is half done. The interpreter itself
    writes to the pipe: a handler in Python, called between two bytecodes, would run only after a
    wait that the signal just missed.
    """

    _numbers = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def __enter__(self) -> Self:
        # A full pipe already says what this signal says.
        self._woken = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._before = [signal.signal(number, _to_the_pipe) for number in self._numbers]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in zip(self._numbers, self._before, strict=True):
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._woken)
        os.close(self._reader)
        os.close(self._writer)

    def fileno(self) -> int:
        return self._reader

    def service(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._reader, 64)
            raise Terminated


def _to_the_pipe(number: int, frame: FrameType | None) -> None:
    """Only signals with a handler reach the wake-up pipe."""


def _write(stream: TextIO, line: str) -> None:
    stream.write(line + "\n")
    stream.flush()
