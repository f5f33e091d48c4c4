"""The kernel's debugger data block, as far as a dump needs it before there are symbols."""

from __future__ import annotations

from collections.abc import Callable

_FIELDS = {
    "KernBase": (0x18, 8),
    "KiProcessorBlock": (0x218, 8),
    "OffsetKThreadApcProcess": (0x2A0, 2),
    "SizeEProcess": (0x2A8, 2),
    "SizePrcb": (0x2B0, 2),
    "OffsetPrcbCurrentThread": (0x2B4, 2),
    "OffsetPrcbProcStateContext": (0x2BC, 2),
    "OffsetPrcbNumber": (0x2BE, 2),
    "SizeEThread": (0x2C0, 2),
    "OffsetPcrContainedPrcb": (0x2E6, 2),
    "OffsetPrcbProcStateSpecialReg": (0x2F2, 2),
}
"""Place and size in KDDEBUGGER_DATA64, as wdbgexts.h declares it."""


class DebuggerData:
    """KDDEBUGGER_DATA64 at an address of memory that is read by `read(address, size)`."""

    def __init__(self, address: int, read: Callable[[int, int], bytes]) -> None:
        self.address = address
        self._read = read

    def __getitem__(self, name: str) -> int:
        place, size = _FIELDS[name]
        return int.from_bytes(self._read(self.address + place, size), "little")

    @property
    def list_head(self) -> int:
        """The block's own list entry leads to nt!KdpDebuggerDataListHead, and that back to it."""
        return int.from_bytes(self._read(self.address, 8), "little")
