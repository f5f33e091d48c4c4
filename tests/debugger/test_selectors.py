"""`dg`: descriptors taken apart."""

from __future__ import annotations

import pytest

from kdsim.debugger.commands.selectors import decode


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        pytest.param(
            "00000000 00000000",
            "00000000`00000000 00000000`00000000 <Reserved> 0 Nb By NP Nl 00000000",
            id="null",
        ),
        pytest.param(
            "00000000 009b2000",
            "00000000`00000000 00000000`00000000 Code RE Ac 0 Nb By P  Lo 0000029b",
            id="kernel code",
        ),
        pytest.param(
            "ffff0000 00f3cf00",
            "00000000`00000000 00000000`ffffffff Data RW Ac 3 Bg Pg P  Nl 00000cf3",
            id="user data",
        ),
        pytest.param(
            "ffff0000 0098cf12",
            "00000000`12000000 00000000`ffffffff Code EO    0 Bg Pg P  Nl 00000c98",
            id="execute only, with a base",
        ),
        pytest.param(
            "67000080 028b0080 b196ffff",
            "ffff96b1`80028000 00000000`00000067 TSS32 Busy 0 Nb By P  Nl 0000008b",
            id="task state",
        ),
        pytest.param(
            "00003412 00e20000",
            "00000000`00001234 00000000`00000000 LDT        3 Nb By P  Nl 000000e2",
            id="local table",
        ),
    ],
)
def test_descriptors(raw: str, text: str) -> None:
    data = bytes.fromhex(raw.replace(" ", "")).ljust(16, b"\0")
    assert str(decode(0x10, data)) == f"0010 {text}"
