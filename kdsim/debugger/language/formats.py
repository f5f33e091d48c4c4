"""Numbers as people read them: ticked addresses, and `.formats`."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from kdsim.debugger import text, times
from kdsim.debugger.language.numbers import signed

# Values up to here are read as seconds since 1970, larger ones as FILETIME.
_LAST_TIME_STAMP = (1 << 32) - 1


def ticked(value: int) -> str:
    """``fffff800`12345678``."""
    return text.address(value)


@dataclass(frozen=True, slots=True)
class Formats:
    """One value in every notation."""

    value: int

    def lines(self) -> list[str]:
        data = self.value.to_bytes(8, "big")
        rows = [
            ("Hex:", ticked(self.value)),
            ("Decimal:", str(signed(self.value))),
            ("Octal:", f"{self.value:022o}"),
            ("Binary:", " ".join(f"{byte:08b}" for byte in data)),
            ("Chars:", "".join(chr(b) if 32 <= b < 127 else "." for b in data)),
            ("Time:", _time(self.value)),
            ("Float:", self._floats()),
            ("Double:", _general(struct.unpack(">d", data)[0])),
        ]
        return ["Evaluate expression:", *(f"  {name:<8} {value}" for name, value in rows)]

    def _floats(self) -> str:
        low, high = struct.unpack("<ff", self.value.to_bytes(8, "little"))
        return f"low {_general(low)} high {_general(high)}"


def _time(value: int) -> str:
    if value <= _LAST_TIME_STAMP:
        return times.image_time(value)
    if value > times.LAST_FILETIME:
        return times.INVALID
    return times.session_time(value)


def _general(number: float) -> str:
    """C's `%g`, with the C library's names for what is no number."""
    if math.isnan(number):
        return "-nan" if math.copysign(1, number) < 0 else "nan"
    return f"{number:g}"
