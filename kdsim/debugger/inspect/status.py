"""NTSTATUS, Win32 and HRESULT codes with their names and messages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StatusCode:
    """One code. `message` falls back to the symbolic name, as the system's own tables do."""

    name: str
    message: str


@cache
def _tables() -> dict[str, dict[int, StatusCode]]:
    tables: dict[str, dict[int, StatusCode]] = {"nt": {}, "win32": {}, "hresult": {}}
    text = Path(__file__).with_name("status_codes.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        kind, value, name, *message = line.split(maxsplit=3)
        tables[kind][int(value, 16)] = StatusCode(name, message[0] if message else name)
    return tables


def ntstatus(code: int) -> StatusCode | None:
    return _tables()["nt"].get(code)


def win32(code: int) -> StatusCode | None:
    return _tables()["win32"].get(code)


def hresult(code: int) -> StatusCode | None:
    """Also those that carry a Win32 code (8007xxxx) or an NTSTATUS (the N bit, 1000 0000)."""
    if code >> 16 == 0x8007:
        return win32(code & 0xFFFF)
    if code >> 28 == 0xD:
        return ntstatus(code & ~0x1000_0000)
    return _tables()["hresult"].get(code)
