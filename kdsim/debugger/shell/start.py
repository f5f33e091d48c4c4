"""`kdsim kd`: reaches a target, runs what the command line asks for, then reads commands."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdsim.debugger.output import Output
from kdsim.debugger.shell.private import SCRIPT_SEED, PrivateTarget, random_key
from kdsim.debugger.shell.terminal import coloured_sink, plain_sink, wants_colour
from kdsim.errors import TargetGone, UserError

if TYPE_CHECKING:
    from kdsim.debugger.backends.base import Backend
    from kdsim.debugger.session import Session

DEFAULT_STYLE = "kd-dark"
PRIVATE_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class KdOptions:
    """The command line of `kdsim kd`; see `docs/architecture.md` and `kdsim kd --help`."""

    transport: str | None = None
    local: bool = False
    machine: str | None = None
    dump: str | None = None
    key: str = ""
    commands: str | None = None
    script: str | None = None
    symbol_path: str | None = None
    image_path: str | None = None
    log: str | None = None
    append_log: str | None = None
    break_in: bool = False
    break_on_load: bool = False
    verbose: bool = False
    json: bool = False
    timeout: float | None = None
    seed: int | None = None

    @property
    def private(self) -> bool:
        return not (self.transport or self.local or self.dump)

    @property
    def scripted(self) -> bool:
        return bool(self.commands or self.script) or not sys.stdin.isatty()


def run(options: KdOptions) -> int:
    """Returns 0, or 1 when a command reported an error under `-c`, `-cf` or piped input."""
    initial = list(_initial_lines(options))
    with ExitStack() as cleanup:
        backend = _backend(options, cleanup)
        colour = wants_colour()
        output = Output(coloured_sink(DEFAULT_STYLE) if colour else plain_sink())
        _open_log(options, output)
        cleanup.callback(output.close_log)
        session = _session(backend, output, options)
        cleanup.callback(session.close)
        _attach(session, options)
        for note, line in initial:
            if session.ended:
                break
            output.fresh_line()
            output.line(f"{session.prompt}{note}")
            session.execute(line)
        if not session.ended:
            _read_commands(session, options, colour)
        return 1 if session.errors and options.scripted else 0


def _session(backend: Backend, output: Output, options: KdOptions) -> Session:
    from kdsim.debugger.commands.engine import equip
    from kdsim.debugger.session import Session

    session = Session(
        backend,
        output,
        symbol_path=options.symbol_path,
        image_path=options.image_path,
        json=options.json,
        break_on_load=options.break_on_load,
        verbose=options.verbose,
    )
    equip(session)
    session.on_bugcheck = _after_bugcheck
    return session


def _after_bugcheck(session: Session) -> None:
    from kdsim.debugger.commands.analyze import after_bugcheck

    after_bugcheck(session)


def _backend(options: KdOptions, cleanup: ExitStack) -> Backend:
    """The way to the target, not yet connected."""
    if options.dump:
        raise UserError(f"cannot open {options.dump}: this version reads no crash dumps yet")
    if options.local:
        from kdsim.debugger.backends.local import LocalBackend

        return LocalBackend(options.machine)
    from kdsim.debugger.backends.live import LiveBackend

    if options.transport:
        return LiveBackend.from_text(options.transport, key=options.key or None)
    key = random_key()
    backend = LiveBackend.from_text(f"net:port=0,key={key}")
    seed = options.seed
    if seed is None and options.scripted:
        seed = SCRIPT_SEED
    cleanup.enter_context(PrivateTarget(backend.port, key, seed=seed))
    return backend


def _attach(session: Session, options: KdOptions) -> None:
    timeout = options.timeout
    if options.private and timeout is None:
        timeout = PRIVATE_TIMEOUT
    try:
        session.attach(break_in=options.break_in or options.private, timeout=timeout)
    except KeyboardInterrupt as interrupt:
        raise TargetGone("no target answered before Ctrl+C") from interrupt


def _open_log(options: KdOptions, output: Output) -> None:
    if options.log:
        output.open_log(Path(options.log))
    elif options.append_log:
        output.open_log(Path(options.append_log), append=True)


def _initial_lines(options: KdOptions) -> Iterator[tuple[str, str]]:
    """(what the transcript shows after the prompt, the line) of `-cf` and `-c`, in kd's order."""
    if options.script:
        try:
            text = Path(options.script).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read the script {options.script}: {error}") from error
        for line in text.splitlines():
            yield line, line
    if options.commands:
        yield f"kd: Reading initial command '{options.commands}'", options.commands


def _read_commands(session: Session, options: KdOptions, colour: bool) -> None:
    if sys.stdin.isatty() and sys.stdout.isatty():
        from kdsim.debugger.shell.prompt import Prompt

        Prompt(session, style=DEFAULT_STYLE, colour=colour).run()
        return
    for line in sys.stdin:
        if session.ended:
            return
        session.out.fresh_line()
        session.out.line(f"{session.prompt}{line.rstrip()}")
        session.execute(line.rstrip("\n"))
