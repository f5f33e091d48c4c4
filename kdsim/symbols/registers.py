"""CodeView's register numbers of x86 and x64."""

from __future__ import annotations

_WIDE = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp")
_X86 = (
    *("al", "cl", "dl", "bl", "ah", "ch", "dh", "bh"),
    *("ax", "cx", "dx", "bx", "sp", "bp", "si", "di"),
    *("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"),
)


def _table() -> dict[int, str]:
    table = dict(enumerate(_X86, 1))
    table |= {33: "rip", 34: "efl"}
    table |= {154 + number: f"xmm{number}" for number in range(8)}
    table |= {252 + number: f"xmm{8 + number}" for number in range(8)}
    table |= dict(enumerate(("sil", "dil", "bpl", "spl"), 324))
    table |= dict(enumerate(_WIDE, 328))
    for first, suffix in ((336, ""), (344, "b"), (352, "w"), (360, "d")):
        table |= {first + number: f"r{8 + number}{suffix}" for number in range(8)}
    return table


_NAMES = _table()


def register_name(number: int) -> str:
    """The register's name; a number no debugger register has is shown as such."""
    return _NAMES.get(number, f"cv{number}")
