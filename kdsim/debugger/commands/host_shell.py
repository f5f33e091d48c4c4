"""`.shell` runs a command of the debugger's machine; `.noshell` forbids it for good."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.errors import UserError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

NO_FILE = "-"
"""What stands for no file behind -i, -o and -e."""

_DETACHED = 'sh -c "$1" </dev/null >/dev/null 2>&1 &'
"""Starts its argument and leaves it to the system."""


@dataclass(frozen=True, slots=True)
class ShellResult:
    """What the command printed, unless it went to a file."""

    output: str
    status: int

    def lines(self) -> list[str]:
        ended = ".shell: Process exited"
        return [*self.output.splitlines(), f"{ended} ({self.status})" if self.status else ended]


@dataclass(slots=True)
class _Plan:
    """The switches, and the command behind them."""

    command: str = ""
    files: dict[str, str] | None = None
    commands: str | None = None
    detached: bool = False


@command(
    ".shell",
    summary="Run a command of the shell on the debugger's machine, with the user's own rights.",
    group="session",
    params=(Param("command", "program", "up to the end of the line, semicolons included"),),
    options=(
        Option("-i", "its input; - for none", "<file>"),
        Option("-o", "where its output goes; - for nowhere", "<file>"),
        Option("-e", "where its errors go; - for nowhere", "<file>"),
        Option("-ci", "what these commands print is its input", '"<commands>"'),
        Option("-x", "do not wait for it; it may outlive the debugger"),
    ),
    see_also=(".noshell",),
    examples=('.shell -ci "!process 0 0" grep Image',),
)
def run_shell(session: Session, args: Arguments, name: str) -> ShellResult | None:
    if not session.shell_allowed:
        raise UserError("Shell commands are prohibited (.noshell)")
    plan = _plan(args)
    if not plan.command:
        raise UserError(".shell needs a command; a shell that stays open is not offered")
    if plan.detached:
        detached = ["/bin/sh", "-c", _DETACHED, "sh", plan.command]
        subprocess.run(detached, start_new_session=True, check=False)
        return None
    text = None
    if plan.commands is not None:
        with session.out.capture() as pieces:
            session.runner(plan.commands)
        text = "".join(pieces)
    return _run(plan, text)


def _plan(args: Arguments) -> _Plan:
    plan = _Plan(files={})
    while (switch := args.take("-ci", "-i", "-o", "-e", "-x", "/x")) is not None:
        if switch in ("-x", "/x"):
            plan.detached = True
        elif switch == "-ci":
            plan.commands = args.string(escapes=True)
            if plan.commands is None:
                raise args.error()
        else:
            assert plan.files is not None
            plan.files[switch[1]] = args.word() or NO_FILE
    plan.command = args.rest()
    return plan


def _run(plan: _Plan, text: str | None) -> ShellResult:
    """Ctrl+C reaches the command too, because it belongs to the terminal as we do."""
    sys.stdout.flush()
    with ExitStack() as cleanup:

        def stream(letter: str, mode: str, default: int) -> IO[bytes] | int:
            name = (plan.files or {}).get(letter)
            if name is None:
                return default
            if name == NO_FILE:
                return subprocess.DEVNULL
            try:
                return cleanup.enter_context(Path(name).open(mode))
            except OSError as error:
                raise UserError(f"Unable to open '{name}': {error.strerror}") from error

        source = subprocess.PIPE if text is not None else stream("i", "rb", subprocess.DEVNULL)
        done = subprocess.run(
            plan.command,
            shell=True,
            input=None if text is None else text.encode(),
            stdin=None if text is not None else source,
            stdout=stream("o", "wb", subprocess.PIPE),
            stderr=stream("e", "wb", subprocess.STDOUT),
            check=False,
        )
    return ShellResult((done.stdout or b"").decode(errors="replace"), done.returncode)


@dataclass(frozen=True, slots=True)
class ShellPermission:
    allowed: bool

    def lines(self) -> list[str]:
        return [f"Shell commands are {'allowed' if self.allowed else 'prohibited'}"]


@command(
    ".noshell",
    summary="Prohibit .shell until the debugger ends.",
    group="session",
    see_also=(".shell",),
)
def prohibit_shell(session: Session, args: Arguments, name: str) -> ShellPermission:
    args.at_end()
    session.shell_allowed = False
    return ShellPermission(session.shell_allowed)
