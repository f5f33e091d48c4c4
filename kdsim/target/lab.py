"""Lab files: what a machine is made of, read from TOML into frozen records.

`docs/lab.md` describes every key. Mistakes are `UserError`s that name the file, the key and what
was expected there.
"""

from __future__ import annotations

import datetime
import difflib
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from kdsim.errors import UserError
from kdsim.resources import resource_path

MAX_PROCESSORS = 32
"""KDSIM_MAX_PROCESSORS of targets/include/kdsim.h."""
MIN_RAM = 64 << 20
MAX_RAM = 64 << 30
DEFAULT_RAM = 512 << 20
DEFAULT_PROCESSORS = 2
DEFAULT_SEED = 1
DEFAULT_POWER_ON = datetime.datetime(2024, 1, 15, 9, 30, tzinfo=datetime.UTC)
MAX_THREADS = 64
MAX_PROCESSES = 256
MAX_TASKS = 256
MAX_PRIORITY = 15
ACCOUNTS = ("system", "local service", "network service", "window manager", "user")
"""KDSIM_ACCOUNT of targets/include/kdsim.h, in its order."""

_IMAGE_NAME = 15
"""Bytes of EPROCESS.ImageFileName without its NUL."""
_DRIVER_NAME = 35
"""Bytes of _KDSIM_TASK.Driver without its NUL."""
_VERIFIER_TEXT = 255
_COMPUTER_NAME = 15
"""MAX_COMPUTERNAME_LENGTH."""
_NO_NAMES: tuple[str, ...] = ()
_SIZE = re.compile(r"(\d+)\s*([kmgt]?)b?", re.IGNORECASE)
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}

T = TypeVar("T")


class Process(NamedTuple):
    """A process that exists from boot on.

    `parent` indexes the list, None means System; `account` indexes ACCOUNTS.
    """

    name: str
    parent: int | None = None
    session: int = 0
    threads: int = 1
    priority: int = 8
    account: int = 0


class Task(NamedTuple):
    """The service controller starts or stops a driver `at` seconds after boot."""

    at: float
    driver: str
    start: bool


class Verifier(NamedTuple):
    """Driver Verifier's settings at boot."""

    flags: int = 0
    drivers: tuple[str, ...] = ()


class Lab(NamedTuple):
    """One machine. `file` is where it was read from, for messages."""

    file: Path
    name: str
    computer: str = "KDSIM"
    ram: int = DEFAULT_RAM
    processors: int = DEFAULT_PROCESSORS
    seed: int = DEFAULT_SEED
    power_on: datetime.datetime = DEFAULT_POWER_ON
    images: tuple[Path, ...] = ()
    boot_drivers: tuple[str, ...] = ()
    verifier: Verifier = Verifier()
    processes: tuple[Process, ...] = ()
    tasks: tuple[Task, ...] = ()

    def changed(
        self, *, seed: int | None = None, processors: int | None = None, ram: str | None = None
    ) -> Lab:
        """This lab with the command line's choices in place of its own."""
        changes: dict[str, Any] = {}
        if seed is not None:
            changes["seed"] = seed
        if processors is not None:
            changes["processors"] = _checked("--cpus", processors, _processors)
        if ram is not None:
            changes["ram"] = _checked("--ram", ram, _ram)
        return self._replace(**changes)


def find_lab(machine: str) -> Lab:
    """The lab of a machine name, or of a path that ends in `.toml`.

    Raises:
        UserError: no such machine, or something in its file is wrong.
    """
    if machine.endswith(".toml"):
        return read_lab(Path(machine))
    shipped = resource_path("targets", "lab", f"{machine}.toml")
    if not re.fullmatch(r"[\w-]+", machine) or not shipped.is_file():
        known = ", ".join(sorted(p.stem for p in resource_path("targets", "lab").glob("*.toml")))
        raise UserError(f"no machine named '{machine}' (known: {known}; or give a .toml file)")
    return read_lab(shipped)


def read_lab(path: Path) -> Lab:
    """Read and check one lab file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(f"{path}: cannot read the machine: {reason}") from error
    try:
        return _lab(path, _Table(path, "", tomllib.loads(text)))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not TOML: {error}") from error


def _lab(path: Path, top: _Table) -> Lab:
    processes = _processes(top.tables("process", MAX_PROCESSES))
    tasks = sorted(
        (_task(table) for table in top.tables("task", MAX_TASKS)), key=lambda task: task.at
    )
    boot = top.table("boot")
    lab = Lab(
        file=path,
        name=top.take("name", _text(64), path.stem),
        computer=top.take("computer", _text(_COMPUTER_NAME), "KDSIM"),
        ram=top.take("ram", _ram, DEFAULT_RAM),
        processors=top.take("processors", _processors, DEFAULT_PROCESSORS),
        seed=top.take("seed", _whole(0, (1 << 64) - 1), DEFAULT_SEED),
        power_on=top.take("power_on", _instant, DEFAULT_POWER_ON),
        images=tuple(path.parent / name for name in top.take("images", _folders, _NO_NAMES)),
        boot_drivers=boot.take("drivers", _names(_DRIVER_NAME), _NO_NAMES),
        verifier=_verifier(top.table("verifier")),
        processes=processes,
        tasks=tuple(tasks),
    )
    boot.finish()
    top.finish()
    return lab


def _verifier(table: _Table) -> Verifier:
    verifier = Verifier(
        flags=table.take("flags", _whole(0, 0xFFFF_FFFF), 0),
        drivers=table.take("drivers", _names(_DRIVER_NAME), _NO_NAMES),
    )
    if len(" ".join(verifier.drivers)) > _VERIFIER_TEXT:
        raise table.error("drivers", f"at most {_VERIFIER_TEXT} characters in all")
    table.finish()
    return verifier


def _processes(tables: Iterator[_Table]) -> tuple[Process, ...]:
    found: list[Process] = []
    for table in tables:
        name = table.take("name", _text(_IMAGE_NAME))
        parent = table.take("parent", _text(_IMAGE_NAME), "System")
        found.append(
            Process(
                name=name,
                parent=_parent(table, parent, found),
                session=table.take("session", _whole(0, 255), 0),
                threads=table.take("threads", _whole(1, MAX_THREADS), 1),
                priority=table.take("priority", _whole(1, MAX_PRIORITY), 8),
                account=table.take("account", _account, 0),
            )
        )
        table.finish()
    return tuple(found)


def _parent(table: _Table, name: str, earlier: list[Process]) -> int | None:
    if name.lower() == "system":
        return None
    for index in range(len(earlier) - 1, -1, -1):
        if earlier[index].name.lower() == name.lower():
            return index
    raise table.error("parent", "the name of a process listed above, or System", name)


def _task(table: _Table) -> Task:
    at = table.take("at", _seconds)
    start = table.take("start", _text(_DRIVER_NAME), "")
    stop = table.take("stop", _text(_DRIVER_NAME), "")
    if bool(start) == bool(stop):
        raise table.error("start", "exactly one of start and stop")
    table.finish()
    return Task(at, start or stop, bool(start))


class _Table:
    """A TOML table being read: hands out checked keys and remembers which are left."""

    def __init__(self, path: Path, name: str, values: object) -> None:
        self._path = path
        self._name = name
        if not isinstance(values, dict):
            raise UserError(f"{path}: {name}: expected a table, got {_shown(values)}")
        self._left = dict(values)
        self._known: list[str] = []

    def take(self, key: str, check: Callable[[object], T], default: T | None = None) -> T:
        self._known.append(key)
        if key not in self._left:
            if default is None:
                raise UserError(f"{self._path}: {self._place(key)} is missing")
            return default
        value = self._left.pop(key)
        try:
            return check(value)
        except ValueError as error:
            raise self.error(key, str(error), value) from error

    def table(self, key: str) -> _Table:
        self._known.append(key)
        return _Table(self._path, self._place(key), self._left.pop(key, {}))

    def tables(self, key: str, most: int) -> Iterator[_Table]:
        self._known.append(key)
        values = self._left.pop(key, [])
        if not isinstance(values, list) or len(values) > most:
            raise self.error(key, f"at most {most} [[{key}]] tables")
        for index, value in enumerate(values):
            yield _Table(self._path, f"{self._place(key)}[{index}]", value)

    def finish(self) -> None:
        for key in self._left:
            near = difflib.get_close_matches(key, self._known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(self._known)}"
            raise UserError(f"{self._path}: {self._place(key)}: unknown key ({hint})")

    def error(self, key: str, expected: str, value: object = None) -> UserError:
        got = f", got {_shown(value)}" if value is not None else ""
        return UserError(f"{self._path}: {self._place(key)}: expected {expected}{got}")

    def _place(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key


def _shown(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _checked(option: str, value: object, check: Callable[[object], T]) -> T:
    try:
        return check(value)
    except ValueError as error:
        raise UserError(f"{option}: expected {error}, got {_shown(value)}") from error


def _whole(low: int, high: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return check


_processors = _whole(1, MAX_PROCESSORS)


def _account(value: object) -> int:
    if not isinstance(value, str) or value not in ACCOUNTS:
        raise ValueError(f"one of: {', '.join(ACCOUNTS)}")
    return ACCOUNTS.index(value)


def _ram(value: object) -> int:
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    size = int(found[1]) << _UNITS[found[2].lower()] if found else 0
    if not MIN_RAM <= size <= MAX_RAM or size % 0x1000:
        raise ValueError(f"a size from {MIN_RAM >> 20}M to {MAX_RAM >> 30}G such as 512M")
    return size


def _text(most: int) -> Callable[[object], str]:
    def check(value: object) -> str:
        if not isinstance(value, str) or not 0 < len(value) <= most or not value.isascii():
            raise ValueError(f"1 to {most} ASCII characters")
        if any(character.isspace() or not character.isprintable() for character in value):
            raise ValueError("printable characters without blanks")
        return value

    return check


def _names(most: int) -> Callable[[object], tuple[str, ...]]:
    one = _text(most)

    def check(value: object) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise ValueError("a list of file names")
        return tuple(one(name) for name in value)

    return check


def _folders(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        raise ValueError("a list of folders")
    return tuple(value)


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e9:
        raise ValueError("seconds after boot, 0 or more")
    return float(value)


def _instant(value: object) -> datetime.datetime:
    if not isinstance(value, datetime.datetime) or value.tzinfo is None:
        raise ValueError("a date and time with its zone such as 2024-01-15T09:30:00Z")
    return value
