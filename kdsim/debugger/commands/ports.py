"""I/O ports: `ib iw id`, `ob ow od`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.errors import Unsupported

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

SIZES = {"b": 1, "w": 2, "d": 4}


@runtime_checkable
class PortAccess(Protocol):
    """What a backend with `Caps.IO` offers besides `Backend`."""

    def read_io(self, port: int, size: int) -> int: ...

    def write_io(self, port: int, size: int, value: int) -> None: ...


def _ports(session: Session, name: str) -> PortAccess:
    session.require_halted()
    backend = session.backend
    if not isinstance(backend, PortAccess):
        raise Unsupported(f"{backend.description} offers no I/O ports in '{name}'")
    return backend


@dataclass(frozen=True, slots=True)
class PortValue:
    """What was read from an I/O port."""

    port: int
    size: int
    value: int

    def lines(self) -> Iterator[str]:
        yield f"{self.port:04x}: {self.value:0{2 * self.size}x}"


@command(
    "ib",
    "iw",
    "id",
    summary="Read an I/O port of 1, 2 or 4 bytes.",
    group="memory",
    params=(Param("port", "expression"),),
    needs=Caps.IO,
    see_also=("ob",),
)
def read_port(session: Session, args: Arguments, name: str) -> PortValue:
    port, size = args.expression(), SIZES[name[1].lower()]
    args.at_end()
    return PortValue(port, size, _ports(session, name).read_io(port, size))


@command(
    "ob",
    "ow",
    "od",
    summary="Write an I/O port of 1, 2 or 4 bytes.",
    group="memory",
    params=(Param("port", "expression"), Param("value", "expression")),
    needs=Caps.IO,
    see_also=("ib",),
)
def write_port(session: Session, args: Arguments, name: str) -> None:
    port = args.expression()
    value = args.expression()
    args.at_end()
    _ports(session, name).write_io(port, SIZES[name[1].lower()], value)
