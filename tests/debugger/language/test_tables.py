"""Parser tables are made once per user, and made anew when they do not fit."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kdsim.debugger.language import tables


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """An empty cache folder, and no parser loaded."""
    monkeypatch.setenv("KDSIM_CACHE", str(tmp_path / "cache"))
    tables.parser.cache_clear()
    yield tmp_path / "cache"
    tables.parser.cache_clear()


@pytest.mark.parametrize("name", ["kd", "masm", "cpp"])
def test_tables_are_written_and_used(fresh, name):
    tables.parser(name)
    first = (fresh / f"{name}.tables").read_bytes()
    tables.parser.cache_clear()
    tables.parser(name)
    assert (fresh / f"{name}.tables").read_bytes() == first


def test_a_damaged_file_is_replaced(fresh):
    fresh.mkdir()
    (fresh / "masm.tables").write_bytes(b"nonsense")
    assert tables.parser("masm").parse("1+1")
    assert len((fresh / "masm.tables").read_bytes()) > 1000


def test_no_folder_is_no_error(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KDSIM_CACHE", str(tmp_path / "file" / "below"))
    tables.parser.cache_clear()
    assert tables.parser("masm").parse("1")
    tables.parser.cache_clear()


def test_simple_lines_do_not_load_the_parser():
    """A session that evaluates nothing starts without lark; cold start is measured."""
    program = (
        "import sys; from kdsim.debugger.language import interpreter, parse;"
        "parse.line('q'); parse.line('!process 0 0'); sys.exit('lark' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
