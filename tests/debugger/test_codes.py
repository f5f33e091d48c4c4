"""The tables of codes: each code once, in order, with a name of its kind."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from kdsim.debugger import inspect

FOLDER = Path(inspect.__file__).parent
ROW = re.compile(r"(?P<kind>\w+) (?P<value>[0-9a-f]{1,8}) (?P<name>\w+)(?: (?P<message>\S.*))?")

TABLES = [
    pytest.param("status_codes.txt", "nt", 2800, id="NTSTATUS"),
    pytest.param("status_codes.txt", "win32", 3100, id="Win32"),
    pytest.param("status_codes.txt", "hresult", 3200, id="HRESULT"),
    pytest.param("ioctl_codes.txt", "device", 90, id="device types"),
    pytest.param("ioctl_codes.txt", "ioctl", 800, id="I/O control codes"),
]


def rows(file: str) -> list[re.Match[str]]:
    lines = (FOLDER / file).read_text("utf-8").splitlines()
    found = [ROW.fullmatch(line) for line in lines if not line.startswith("#")]
    assert None not in found
    return [row for row in found if row]


@pytest.mark.parametrize(("file", "kind", "at_least"), TABLES)
def test_table_is_complete_and_in_order(file: str, kind: str, at_least: int) -> None:
    mine = [row for row in rows(file) if row["kind"] == kind]
    assert len(mine) >= at_least
    # Control codes and device types may have several names.
    places = [(int(row["value"], 16), row["name"] if "ioctl" in file else "") for row in mine]
    assert len(set(places)) == len(places)
    assert all(before[0] <= after[0] for before, after in pairwise(places))
    assert all(row["message"] != row["name"] for row in mine)


@pytest.mark.parametrize(
    ("kind", "value", "name"),
    [
        pytest.param("nt", 0x0, "STATUS_WAIT_0", id="success is the first wait"),
        pytest.param("nt", 0xC0000005, "STATUS_ACCESS_VIOLATION", id="ntstatus.h"),
        pytest.param("win32", 0, "ERROR_SUCCESS", id="winerror.h begins"),
        pytest.param("win32", 1784, "ERROR_INVALID_USER_BUFFER", id="winerror.h goes on"),
        pytest.param("hresult", 0x80004005, "E_FAIL", id="COM"),
        pytest.param("ioctl", 0x4D0008, "IOCTL_MOUNTDEV_QUERY_DEVICE_NAME", id="mount manager"),
    ],
)
def test_well_known_names(kind: str, value: int, name: str) -> None:
    every = rows("status_codes.txt") + rows("ioctl_codes.txt")
    assert name in [r["name"] for r in every if (r["kind"], int(r["value"], 16)) == (kind, value)]
