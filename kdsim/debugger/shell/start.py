"""`kdsim kd`: reaches a target, runs what the command line asks for, then reads commands."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kdsim.debugger.output import Output
from kdsim.debugger.shell.interrupts import break_in_on_interrupt
from kdsim.debugger.shell.terminal import STYLE_VARIABLE, Terminal
from kdsim.errors import TargetGone, UserError

if TYPE_CHECKING:
    from kdsim.debugger.backends.base import Backend
    from kdsim.debugger.commands.engine import Engine
    from kdsim.debugger.session import Session
    from kdsim.debugger.shell.conversation import Conversation

PRIVATE_TIMEOUT = 60.0
SCRIPT_SEED = 1
EXIT_ERRORS = 1
EXIT_NO_TARGET = 3


class KdOptions(NamedTuple):
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
    """The exit status; a target that never answers is raised as TargetGone."""
    initial = list(_initial_lines(options))
    with ExitStack() as cleanup:
        terminal = Terminal(sys.stdout)
        output = _output(terminal, json=options.json)
        cleanup.callback(output.close_log)
        _open_log(options, output)
        backend = _backend(options, output)
        engine = _engine(backend, output, options)
        session = engine.session
        cleanup.callback(session.close)
        cleanup.enter_context(break_in_on_interrupt(session))
        if not options.scripted and terminal.capable:
            # Here rather than at the first prompt, because a private machine boots meanwhile.
            import kdsim.debugger.shell.prompt  # noqa: F401
        session.ask = partial(_ask, session)
        _attach(session, options)
        status = _run_lines(session, initial, keep_going=True)
        if status == EXIT_NO_TARGET or session.ended:
            return status
        return max(status, _read_commands(engine, terminal))


def _output(terminal: Terminal, *, json: bool) -> Output:
    """Colours and what comes and goes are for people; JSON is for programs."""
    output = Output(terminal.write)
    if not terminal.interactive or json:
        return output

    def style(name: str) -> str:
        if name:
            terminal.use(name)
        return terminal.style

    output.style = style
    if terminal.capable:
        output.control = terminal.control
    try:
        terminal.use_default()
    except UserError as error:
        sys.stderr.write(f"kdsim: {STYLE_VARIABLE}: {error}\n")
    return output


def _engine(backend: Backend, output: Output, options: KdOptions) -> Engine:
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
    session.on_bugcheck = _after_bugcheck
    engine = equip(session)
    _load_driver_map(session)
    return engine


def _load_driver_map(session: Session) -> None:
    """The environment variable of kd for what `.kdfiles FILE` does."""
    name = os.environ.get("_NT_KD_FILES")
    if name:
        session.execute(f".kdfiles {name}")


def _after_bugcheck(session: Session) -> None:
    from kdsim.debugger.commands.analyze import after_bugcheck

    after_bugcheck(session)


def _backend(options: KdOptions, output: Output) -> Backend:
    """The way to the target, not yet connected."""
    if options.dump:
        from kdsim.debugger.backends.dump import DumpBackend

        return DumpBackend(Path(options.dump))
    if options.local:
        from kdsim.debugger.backends.local import LocalBackend

        return LocalBackend(options.machine)
    if options.transport:
        from kdsim.debugger.backends.live import LiveBackend

        live = LiveBackend.from_text(options.transport, key=options.key or None)
        if not options.json:
            live.on_notice(output.line)
        if options.timeout is not None:
            live.give_up_after(options.timeout)
        return live
    return _private_backend(options)


def _private_backend(options: KdOptions) -> Backend:
    from kdsim.debugger.shell.private_target import PrivateTarget

    seed = options.seed
    if seed is None and options.scripted:
        seed = SCRIPT_SEED
    target = PrivateTarget(seed)
    # Only now, while the machine boots: this import brings in half of the debugger.
    from kdsim.debugger.shell.private import PrivateBackend

    return PrivateBackend(target)


def _attach(session: Session, options: KdOptions) -> None:
    timeout = options.timeout
    if options.private and timeout is None:
        timeout = PRIVATE_TIMEOUT
    if options.transport and not options.json:
        session.on_reached = partial(_tell_reached, session)
    try:
        # Before anybody is told to wait: a Ctrl+C that meets an import is handled as any other, but
        # CPython ends the process with SIGINT for it, whatever the status is.
        session.prepare()
        if session.on_reached is not None:
            session.out.line(f"Waiting to reconnect... ({session.backend.description})")
        session.attach(break_in=options.break_in or options.private, timeout=timeout)
    except KeyboardInterrupt as interrupt:
        raise TargetGone("interrupted before the target answered") from interrupt


def _tell_reached(session: Session) -> None:
    """A target that runs says nothing by itself; the user should know that it is there."""
    peer = getattr(session.backend, "peer", "")
    session.out.line(f"Connected to target {peer}".rstrip())


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
            reason = error.strerror if isinstance(error, OSError) else error
            raise UserError(f"cannot read the script {options.script}: {reason}") from error
        for line in text.splitlines():
            yield line, line
    if options.commands:
        yield f"kd: Reading initial command '{options.commands}'", options.commands


def _run_lines(
    session: Session, lines: Iterable[tuple[str, str]], *, keep_going: bool = False
) -> int:
    """Run (what is shown behind the prompt, line) one by one; the exit status they lead to."""
    errors = session.errors
    for shown, line in lines:
        if session.ended:
            break
        if not session.settings.json:
            session.out.fresh_line()
            session.out.line(f"{session.prompt}{shown}")
        session.execute(line, keep_going=keep_going)
        if session.lost is not None and not session.ended:
            # Without a target the rest of a script makes no sense.
            return EXIT_NO_TARGET
    return EXIT_ERRORS if session.errors > errors else 0


def _read_commands(engine: Engine, terminal: Terminal) -> int:
    """Commands from a terminal or a pipe; only those of a pipe count for the exit status."""
    session = engine.session
    if not sys.stdin.isatty():
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(encoding="utf-8", errors="replace")
        lines = map(str.rstrip, iter(sys.stdin.readline, ""))
        return _run_lines(session, ((line, line) for line in lines))
    answered = _conversation(engine, terminal).run()
    return 0 if answered else EXIT_NO_TARGET


def _conversation(engine: Engine, terminal: Terminal) -> Conversation:
    if terminal.capable:
        from kdsim.debugger.shell.prompt import Prompt

        return Prompt(engine, terminal)
    from kdsim.debugger.shell.conversation import Conversation

    return Conversation(engine.session)


def _ask(session: Session, question: str) -> str:
    """The answer is the next line of a pipe, which the output shows, or what is typed unseen."""
    session.out.fresh_line()
    if sys.stdin.isatty():
        session.out.write(question)
        answer = sys.stdin.readline().rstrip("\n")
        session.out.at_line_start = True
    else:
        answer = sys.stdin.readline().rstrip("\n")
        session.out.line(f"{question}{answer}")
    return answer
