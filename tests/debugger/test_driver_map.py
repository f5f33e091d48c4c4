"""Driver replacement: which names the map means, its file, and what a target is answered."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdsim.debugger.driver_map import READ_LIMIT, Association, DriverMap, parse_map, write_map
from kdsim.errors import FormatError
from kdsim.wire.manipulate import Status
from kdsim.wire.messages import FileApi, FileIo, FileTransfer
from tests.debugger.conftest import Kd

NTFS = "\\SystemRoot\\System32\\Drivers\\Ntfs.sys"


@pytest.mark.parametrize(
    ("old", "path", "meant"),
    [
        pytest.param("ntfs", NTFS, True, id="name without extension"),
        pytest.param("NTFS.sys", NTFS, True, id="name in other letters"),
        pytest.param("windows\\system32\\drivers\\ntfs.sys", NTFS, True, id="SystemRoot"),
        pytest.param("\\Systemroot\\system32\\drivers\\ntfs.sys", NTFS, True, id="whole path"),
        pytest.param("\\??\\c:\\windows\\system32\\drivers\\ntfs", NTFS, True, id="with a drive"),
        pytest.param(NTFS, NTFS[1:], True, id="asked without the leading backslash"),
        pytest.param("fs.sys", NTFS, False, id="only whole parts"),
        pytest.param("system32\\ntfs.sys", NTFS, False, id="another folder"),
        pytest.param("ntf", NTFS, False, id="part of the name"),
        pytest.param("a\\SystemRoot\\System32\\Drivers\\Ntfs.sys", NTFS, False, id="longer"),
        pytest.param("", NTFS, False, id="nothing"),
    ],
)  # fmt: skip
def test_names(old: str, path: str, meant: bool) -> None:
    assert Association(old, "new").matches(path) is meant


GOOD = """# comment
map
\\Systemroot\\system32\\drivers\\videoprt.sys
e:\\binaries\\videoprt.sys

MAP
\\Systemroot\\system32\\mydriver.sys
/new_drivers/mydriver 0031.sys
"""


def test_map_file() -> None:
    assert parse_map(GOOD) == [
        Association("\\Systemroot\\system32\\drivers\\videoprt.sys", "e:\\binaries\\videoprt.sys"),
        Association("\\Systemroot\\system32\\mydriver.sys", "/new_drivers/mydriver 0031.sys"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a.sys\nb.sys\n", id="no map"),
        pytest.param("map\na.sys\n", id="no new file"),
        pytest.param("map\na.sys\n\nb.sys\n", id="blank line inside"),
        pytest.param("map\n# comment\nb.sys\n", id="comment inside"),
    ],
)
def test_bad_map_file(text: str) -> None:
    with pytest.raises(FormatError):
        parse_map(text)


NAMES = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1)


@given(st.lists(st.builds(Association, NAMES, NAMES)))
def test_a_saved_map_is_read_again(associations: list[Association]) -> None:
    assert parse_map(write_map(associations)) == associations


def ask(files: DriverMap, path: str) -> bytes | None:
    """A driver file as a kernel fetches it; None when it is to take its own."""
    opened = files.answer(FileIo.create(path))
    if opened.status != Status.SUCCESS:
        return None
    handle, length = opened.creation.handle, opened.creation.length
    data = b""
    while len(data) < length:
        transfer = FileTransfer(handle, len(data), 0x10000)
        part = files.answer(FileIo.request(FileApi.READ, transfer))
        assert part.status == Status.SUCCESS
        assert part.transfer.length == len(part.data) <= READ_LIMIT
        data += part.data
    beyond = files.answer(FileIo.request(FileApi.READ, FileTransfer(handle, length, 1)))
    assert beyond.status == Status.END_OF_FILE
    close = FileIo.request(FileApi.CLOSE, FileTransfer(handle))
    assert [files.answer(close).status for _ in range(2)] == [0, Status.INVALID_HANDLE]
    return data


def test_target_gets_the_file(tmp_path: Path) -> None:
    new = tmp_path / "new.sys"
    new.write_bytes(bytes(range(256)) * 40)
    told: list[str] = []
    files = DriverMap(told.append)
    files.add("ntfs", "/nowhere")
    files.add("NTFS", str(new))
    assert ask(files, NTFS) == new.read_bytes()
    assert told == [f"KD: Accessing '{new}' ({NTFS})", "  File size 10K."]
    assert ask(files, "\\SystemRoot\\other.sys") is None
    files.add("other", str(tmp_path / "missing"))
    assert ask(files, "\\SystemRoot\\other.sys") is None
    assert told[-1].endswith("No such file or directory")


def test_target_writes_nothing(tmp_path: Path) -> None:
    new = tmp_path / "new.sys"
    new.write_bytes(b"1234")
    files = DriverMap(lambda _line: None)
    files.add("ntfs", str(new))
    handle = files.answer(FileIo.create(NTFS)).creation.handle
    write = FileIo.request(FileApi.WRITE, FileTransfer(handle, 0, 4), b"9999")
    assert files.answer(write).status == Status.ACCESS_DENIED
    assert new.read_bytes() == b"1234"


def test_backend_without_files_refuses(kd: Kd) -> None:
    assert kd.run(".kdfiles") == "fake cannot be asked for files in '.kdfiles'\n"
