"""`.kdfiles`: which driver files the target gets from the debugger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.driver_map import Association, FileServing, write_map
from kdsim.errors import FormatError, Unsupported, UserError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session


@dataclass(frozen=True, slots=True)
class Message:
    """What was done with the map."""

    done: str
    file: str

    def lines(self) -> list[str]:
        return [f"{self.done} '{self.file}'"]


@dataclass(frozen=True, slots=True)
class FileMap:
    source: str
    associations: tuple[Association, ...]

    def lines(self) -> Iterator[str]:
        if self.source:
            yield f"KD file associations loaded from '{self.source}'"
        elif not self.associations:
            yield "No KD file associations"
        for item in self.associations:
            yield f"  {item.old} -> {item.new}"


@command(
    ".kdfiles",
    summary="Have the target load driver files from here, by a map; alone: show the map.",
    group="session",
    params=(Param("map", "file", "lines: map, the driver's name, the new file", optional=True),),
    options=(
        Option("-m", "add a driver and the file to load instead", "<old> <new>"),
        Option("-s", "save the map", "<file>"),
        Option("-c", "forget the map"),
    ),
    needs=Caps.RUN,
    see_also=("sx", ".reboot"),
    notes="The target asks when it loads a driver; a file that is not in the map is its own.",
    examples=(r".kdfiles -m \SystemRoot\System32\drivers\leaky.sys build/leaky.sys",),
)
def driver_files(session: Session, args: Arguments, name: str) -> FileMap | Message | None:
    backend, files = session.backend, session.driver_map
    if not isinstance(backend, FileServing):
        raise Unsupported(f"{backend.description} cannot be asked for files in '{name}'")
    given = args.lone_switches("m", "s", "c")
    if "m" in given:
        old, new = args.word(), args.word()
        if not old or not new:
            raise args.error()
        args.at_end()
        files.add(old, new)
        result: FileMap | Message | None = Message("Added mapping for", old)
    elif "s" in given:
        result = _save(session, args)
    elif "c" in given:
        args.at_end()
        files.clear()
        result = None
    elif args.done:
        return FileMap(files.source, tuple(files.associations))
    else:
        result = load_map(session, args.rest().strip('"'))
    backend.serve_files(files.answer)
    return result


def load_map(session: Session, name: str) -> Message:
    try:
        session.driver_map.load(Path(name))
    except (OSError, FormatError) as error:
        raise UserError(f"Unable to load file associations from '{name}'") from error
    return Message("KD file associations loaded from", name)


def _save(session: Session, args: Arguments) -> Message:
    name = args.rest().strip('"')
    if not name:
        raise args.error()
    try:
        Path(name).write_text(write_map(session.driver_map.associations), encoding="utf-8")
    except OSError as error:
        raise UserError(f"Unable to save file associations to '{name}'") from error
    return Message("KD file associations saved to", name)
