"""What the system's process list shows of us."""

from __future__ import annotations

from pathlib import Path

ARGUMENTS_START = 48 - 3
"""Field 48 of /proc/self/stat, arg_start in proc(5), counted behind the program's name."""


def hide(secret: str) -> None:
    """Cross out a secret in this process's command line, where `ps` of anybody would show it.

    Linux shows the memory in which the arguments lie. A system that keeps them elsewhere is left
    as it is.
    """
    import ctypes

    found = secret.encode()
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = (int(field) for field in fields[ARGUMENTS_START : ARGUMENTS_START + 2])
    except (OSError, ValueError):
        return
    if not found or not 0 < start < end:
        return
    arguments = ctypes.string_at(start, end - start)
    place = arguments.find(found)
    while place >= 0:
        ctypes.memset(start + place, ord("."), len(found))
        place = arguments.find(found, place + len(found))
