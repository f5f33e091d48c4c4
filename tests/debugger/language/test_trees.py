"""The tables in `trees/`: text to tree, or to the error with its column."""

from __future__ import annotations

import pytest

from kdsim.debugger.language import parse
from kdsim.errors import CommandSyntaxError
from tests.debugger.language.tree_tables import is_type, outcome, table

NAMES = ("lines", "masm", "cpp")
ROWS = [pytest.param(name, row, id=f"{name}, {row.id}") for name in NAMES for row in table(name)]
PARSERS = {
    "lines": parse.line,
    "masm": lambda text: parse.masm(text).tree,
    "cpp": lambda text: parse.cpp(text, is_type=is_type).tree,
}


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_tree(name, row):
    assert outcome(name, row.text) == row.tree


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_written_out_it_parses_to_the_same(name, row):
    parser = PARSERS[name]
    try:
        tree = parser(row.text)
    except CommandSyntaxError:
        return
    assert parser(str(tree)) == tree


def test_there_are_enough_rows_and_no_two_alike():
    assert len(ROWS) >= 300
    assert len({row.id for row in ROWS}) == len(ROWS)
