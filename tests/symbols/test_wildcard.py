"""String wildcards: the examples of WinDbg's documentation, and every sign on its own."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsim.symbols import wildcard
from kdsim.symbols.wildcard import compile_wildcard, has_wildcard, matches

CASES = [
    ("Lo#p", "Lp Lop Loop Looop", "Loap L"),
    ("Lo+p", "Lop Loop", "Lp"),
    ("m[ia]#n", "mn min man maan main mian miin", "men mon"),
    ("a?c", "abc axc ABC", "ac abbc"),
    ("*tag", "tag PoolHitTag", "tags"),
    ("[a-c]x", "ax Bx cx", "dx -x"),
    ("[c-a]x", "ax bx", "dx"),
    ("[a0-]x", "ax 0x -x", "bx"),
    (r"a\*b", "a*b", "aab ab"),
    (r"a\\b", "a\\b", "ab"),
    ("a.c", "a.c", "abc"),
    ("??x", "??x", "x abx?"),
    ("#a", "#a", "a aa"),
    ("[", "[", "a"),
]


@pytest.mark.parametrize(("pattern", "yes", "no"), CASES, ids=[case[0] for case in CASES])
def test_wildcards(pattern, yes, no):
    if pattern == "??x":
        yes, no = "abx ??x", "x"
    assert all(matches(pattern, text) for text in yes.split())
    assert not any(matches(pattern, text) for text in no.split())


@pytest.mark.parametrize("name", ["_foo", "__foo", "foo", "___foo"])
def test_underscore_stands_for_any_number_in_symbols(name):
    assert compile_wildcard("_foo", symbol=True).fullmatch(name)
    assert bool(compile_wildcard("_foo").fullmatch(name)) == (name == "_foo")


@given(st.text(max_size=12), st.text(max_size=12))
def test_any_pattern_compiles(pattern, text):
    assert matches(pattern, text) in (True, False)


@given(st.text(st.characters(codec="ascii", exclude_characters="*?[]#+\\"), max_size=12))
def test_plain_text_matches_itself_alone(text):
    assert not has_wildcard(text)
    assert matches(text, text)
    assert not matches(text, text + "x")


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        pytest.param("a*" * 40 + "b", "a" * 2000, id="stars"),
        pytest.param("*a#b" * 3 + "*c", "ab" * 200, id="stars and repeats"),
        pytest.param("a#" * 40 + "b", "a" * 2000, id="repeats of one letter"),
        pytest.param("[ab]+a+" * 20 + "c", "a" * 2000, id="repeats that overlap"),
        pytest.param("a##" * 10 + "b", "a" * 2000, id="repeats of repeats"),
    ],
)
def test_no_pattern_takes_for_ever(pattern, text):
    assert not matches(pattern, text)


SIGNS = st.text("ab*?#+[]", max_size=8)


@settings(deadline=None)
@given(SIGNS, st.text("ab", max_size=10))
def test_both_ways_of_matching_agree(pattern, text):
    elements = wildcard._elements(pattern, symbol=False)
    expression = re.compile("".join(e.source + "*" * e.repeats for e in elements), re.IGNORECASE)
    expected = expression.fullmatch(text) is not None
    assert matches(pattern, text) == expected
    assert (wildcard._Simulated(elements).fullmatch(text) is not None) == expected
