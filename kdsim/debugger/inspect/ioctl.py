"""I/O control codes taken apart: device type, access, function, method."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

METHODS = ("METHOD_BUFFERED", "METHOD_IN_DIRECT", "METHOD_OUT_DIRECT", "METHOD_NEITHER")
ACCESSES = (
    "FILE_ANY_ACCESS",
    "FILE_READ_ACCESS",
    "FILE_WRITE_ACCESS",
    "FILE_READ_ACCESS FILE_WRITE_ACCESS",
)


@cache
def _tables() -> dict[str, dict[int, list[str]]]:
    tables: dict[str, dict[int, list[str]]] = {
        "device": defaultdict(list),
        "ioctl": defaultdict(list),
    }
    text = Path(__file__).with_name("ioctl_codes.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if not line.startswith("#"):
            kind, value, name = line.split()
            tables[kind][int(value, 16)].append(name)
    return tables


@dataclass(frozen=True, slots=True)
class IoControlCode:
    """What CTL_CODE put together."""

    code: int
    names: tuple[str, ...]
    device: int
    device_names: tuple[str, ...]
    access: str
    function: int
    method: int

    def lines(self) -> Iterator[str]:
        yield ""
        yield from self.names or (f"Unknown IOCTL  : 0x{self.code:x}",)
        yield ""
        named = "".join(f" ({name})" for name in self.device_names)
        yield f"Device Type    : 0x{self.device:x}{named}"
        yield f"Method         : 0x{self.method:x} {METHODS[self.method]}"
        yield f"Access         : {self.access}"
        yield f"Function       : 0x{self.function:x}"


def decode(code: int) -> IoControlCode:
    """The fields of a 32-bit control code: 16 device, 2 access, 12 function, 2 method."""
    tables = _tables()
    device = code >> 16 & 0xFFFF
    return IoControlCode(
        code,
        tuple(tables["ioctl"].get(code, ())),
        device,
        tuple(tables["device"].get(device, ())),
        ACCESSES[code >> 14 & 3],
        code >> 2 & 0xFFF,
        code & 3,
    )
