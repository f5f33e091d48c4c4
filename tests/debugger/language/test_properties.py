"""Whatever is typed gives a value or a KdsimError; what is written out parses to the same."""

from __future__ import annotations

import operator as op
import re
from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdsim.debugger.language import parse
from kdsim.debugger.language.arguments import Arguments
from kdsim.debugger.language.evaluate import Evaluator
from kdsim.debugger.language.interpreter import Interpreter
from kdsim.debugger.language.typed_text import typed_text
from kdsim.errors import KdsimError, SimBug
from tests.debugger.language.language_fakes import SYMBOLS, TYPES, FakeContext, FakeHost

T = TypeVar("T")
OPERATORS = {"+": op.add, "-": op.sub, "*": op.mul, "&": op.and_, "|": op.or_, "^": op.xor}

quick = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)

EXPRESSION_WORDS = """
    0 1 10 ff 0n9 0x1 fffff807`10000000 + - * / % mod << >> >>> = == != < > <= >= & and | or ^ xor
    not hi low poi by ( ) , . @rax rax @$t0 nt nt!Count Node bad !bad $!counter 'a' 'Abc' $scmp(
    "a" $vvalid( @@( @@c++( @@masm( ` `work.c:1` sizeof( (_NODE*) -> [ ] ? : ++ -- += ~ ! && ||
    Node.Count Node.Next->Level Table #FIELD_OFFSET( @$proc 1.5 5UL L10 ;
"""
LINE_WORDS = r"""
    .if .else .elsif .while .do .for .foreach .block .catch .break .leave { } ( ) ; " ' * $$ as aS
    ad al x ${x} ${/v:x} ${/d:x} j z(0) .echo k (0) 0 (1;0;1) r $.u1=5 $u1 /s /pS 1 \ $< $$>a< a b
"""
PIECES = st.sampled_from([*EXPRESSION_WORDS.split(), " "])
LINE_PIECES = st.sampled_from([*LINE_WORDS.split(), " ", "\n"])


def text_of(pieces: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    spaced = st.lists(pieces, max_size=10).map(" ".join)
    glued = st.lists(pieces, max_size=10).map("".join)
    return spaced | glued | st.text(max_size=20)


def attempt(function: Callable[[], T]) -> T | None:
    """The result, or None for an error the user is to see."""
    try:
        return function()
    except SimBug:
        raise
    except KdsimError as error:
        if not str(error):
            raise
    return None


@quick
@given(text_of(PIECES))
def test_masm_gives_a_value_or_an_error(text):
    value = attempt(lambda: Evaluator(FakeContext()).masm(text))
    assert value is None or 0 <= value < 1 << 64


@quick
@given(text_of(PIECES))
def test_cpp_gives_a_value_or_an_error(text):
    context = FakeContext()
    value = attempt(lambda: Evaluator(context).cpp(text))
    assert value is None or typed_text(context, value)


@quick
@given(text_of(PIECES))
def test_arguments_give_values_or_errors(text):
    cursor = Arguments(text, FakeContext())
    found = attempt(lambda: cursor.range(4, 32))
    assert found is None or found.size >= 0
    attempt(lambda: cursor.values(4))
    attempt(cursor.at_end)
    assert cursor.position <= len(text)


def terminates(text: str) -> bool:
    """Only loops whose condition can be false."""
    return not re.search(r"(?i)\.(?:while|for|do)|z\(", text) and "<" not in text


@quick
@given(text_of(LINE_PIECES).filter(terminates))
def test_lines_run_or_are_refused(text):
    host = FakeHost(FakeContext())
    interpreter = Interpreter(host)
    attempt(lambda: interpreter.run(text))
    assert interpreter._depth == 0


@quick
@given(text_of(LINE_PIECES) | text_of(PIECES))
def test_plain_lines_agree_with_the_grammar(text):
    """`line` takes a short cut for lines without syntax; it must not be seen."""
    assert result_of(parse.line, text) == result_of(parse.parsed_line, text)


def result_of(function, text):
    try:
        return function(text)
    except KdsimError as error:
        return str(error)


@quick
@given(text_of(PIECES))
def test_masm_written_out_parses_to_the_same(text):
    try:
        tree = parse.masm(text).tree
    except KdsimError:
        return
    written = str(tree)
    again = parse.masm(written)
    assert again.tree == tree
    assert again.end == len(written)


@quick
@given(text_of(PIECES))
def test_cpp_written_out_parses_to_the_same(text):
    is_type = TYPES.__contains__
    try:
        tree = parse.cpp(text, is_type=is_type).tree
    except KdsimError:
        return
    written = str(tree)
    again = parse.cpp(written, is_type=is_type)
    assert again.tree == tree
    assert again.end == len(written)


@quick
@given(text_of(LINE_PIECES))
def test_lines_written_out_parse_to_the_same(text):
    try:
        program = parse.line(text)
    except KdsimError:
        return
    assert parse.line(str(program)) == program


@quick
@given(st.integers(0, (1 << 64) - 1), st.sampled_from([8, 10, 16]))
def test_numbers_are_read_in_every_radix(value, radix):
    context = FakeContext()
    context.radix = radix
    plain = {8: f"{value:o}", 10: f"{value}", 16: f"{value:x}"}[radix]
    evaluator = Evaluator(context)
    forms = [
        f"0x{value:x}", f"0n{value}", f"0t{value:o}", f"0y{value:b}", f"{value:x}h",
        f"0x{value >> 32:x}`{value & 0xFFFFFFFF:08x}", f"({plain})", f"--{plain}",
    ]  # fmt: skip
    assert {evaluator.masm(form) for form in forms} == {value}


@quick
@given(st.integers(0, 1 << 70), st.integers(0, 1 << 70), st.sampled_from(sorted(OPERATORS)))
def test_arithmetic_wraps(a, b, operator):
    a, b = a % (1 << 64), b % (1 << 64)
    expected = OPERATORS[operator](a, b) % (1 << 64)
    assert Evaluator(FakeContext()).masm(f"0x{a:x} {operator} 0x{b:x}") == expected


def test_the_sample_symbols_are_not_numbers():
    assert all(not re.fullmatch("[0-9a-f]+", name) for name in SYMBOLS)
