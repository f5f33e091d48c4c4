"""`.logopen .logappend .logclose .logfile`: what is printed also goes to a file."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from kdsim.debugger.commands.registry import Param, command
from kdsim.errors import UserError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

DEFAULT_LOG = "Dbgeng.log"

# A path may begin with a slash too: a switch is one letter that stands alone.
_SWITCH = re.compile(r"/([tud])(?=\s|$)")


@command(
    ".logopen",
    ".logappend",
    summary="Start a log file (.logappend: go on with one); /t puts the time into its name.",
    group="session",
    params=(Param("file", "file", optional=True),),
    see_also=(".logclose", ".logfile"),
    notes="/u writes UTF-16, /d makes the name from the target's.",
)
def open_log(session: Session, args: Arguments, name: str) -> list[str]:
    switches = set()
    while (found := _SWITCH.match(args.peek())) is not None:
        switches.add(found[1])
        args.position += found.end()
    text = args.rest().strip('"') or DEFAULT_LOG
    if "d" in switches:
        text = "kd.log"
    path = Path(text)
    if "t" in switches:
        stamp = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(session.clock()))
        path = path.with_name(f"{path.stem}_{os.getpid():x}_{stamp}{path.suffix}")
    closed = session.out.close_log()
    lines = [f"Closing open log file {closed}"] if closed else []
    encoding = "utf-16" if "u" in switches else "utf-8"
    session.out.open_log(path, append=name == ".logappend", encoding=encoding)
    return [*lines, f"Opened log file '{path}'"]


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
def show_log(session: Session, args: Arguments, name: str) -> str:
    args.at_end()
    path = session.out.log_path
    return f"Log '{path}' open" if path else "No log file open"
