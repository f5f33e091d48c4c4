"""`.logopen .logappend .logclose .logfile`: what is printed also goes to a file."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.errors import UserError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

DEFAULT_LOG = "Dbgeng.log"
AUTOMATIC_LOG = "kd.log"
"""What /d chooses: a kernel debugger's target has no process name to take."""


@dataclass(frozen=True, slots=True)
class LogOpened:
    """The file that is written now, and the one that was until now."""

    path: str
    closed: str

    def lines(self) -> Iterator[str]:
        if self.closed:
            yield f"Closing open log file {self.closed}"
        yield f"Opened log file '{self.path}'"


@dataclass(frozen=True, slots=True)
class LogState:
    path: str

    def lines(self) -> list[str]:
        return [f"Log '{self.path}' open" if self.path else "No log file open"]


@command(
    ".logopen",
    ".logappend",
    summary="Start a log file (.logappend: go on with one).",
    group="session",
    params=(Param("file", "file", "Dbgeng.log when none is named", optional=True),),
    options=(
        Option("/t", "put process id, date and time into its name"),
        Option("/u", "write UTF-16"),
        Option("/d", "choose the name: kd.log"),
    ),
    see_also=(".logclose", ".logfile"),
)
def open_log(session: Session, args: Arguments, name: str) -> LogOpened:
    given = args.lone_switches("t", "u", "d")
    text = args.rest().strip('"')
    if "d" in given and text:
        raise args.error(column=args.start)
    path = Path(text or (AUTOMATIC_LOG if "d" in given else DEFAULT_LOG))
    if "t" in given:
        path = path.with_name(f"{path.stem}_{_stamp(session)}{path.suffix}")
    closed = session.out.close_log()
    encoding = "utf-16" if "u" in given else "utf-8"
    session.out.open_log(path, append=name == ".logappend", encoding=encoding)
    return LogOpened(str(path), str(closed or ""))


def _stamp(session: Session) -> str:
    """`02BC_2005-02-28_09-05-50-935`."""
    now = session.clock()
    moment = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(now))
    return f"{os.getpid():04X}_{moment}-{int(now * 1000) % 1000:03}"


@command(".logclose", summary="Close the log file.", group="session", see_also=(".logopen",))
def close_log(session: Session, args: Arguments, name: str) -> None:
    args.at_end()
    path = session.out.log_path
    if path is None:
        raise UserError("No log file open")
    session.out.line(f"Closing open log file {path}")
    session.out.close_log()


@command(
    ".logfile", summary="Tell which log file is open.", group="session", see_also=(".logopen",)
)
def show_log(session: Session, args: Arguments, name: str) -> LogState:
    args.at_end()
    return LogState(str(session.out.log_path or ""))
