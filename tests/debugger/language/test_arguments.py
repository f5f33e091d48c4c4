"""What commands pull out of their text."""

from __future__ import annotations

import pytest

from kdsim.debugger.language.arguments import Arguments, Range
from kdsim.errors import CommandSyntaxError, KdsimError
from tests.debugger.language.language_fakes import BASE


@pytest.fixture
def arguments(context):
    """Arguments of a command whose name ends at the first blank."""

    def make(text: str) -> Arguments:
        return Arguments(text, context, len(text.split()[0]) if text.split() else 0)

    return make


RANGES = [
    # text, object size, default count -> address, count, bytes, form
    ("db", 1, 128, (None, 128, 128, "none")),
    ("dd", 4, 32, (None, 32, 128, "none")),
    ("db nt!Count", 1, 128, (BASE, 128, 128, "address")),
    ("db 1000 1007", 1, 128, (0x1000, 8, 8, "end")),
    ("dd 1000 1007", 4, 32, (0x1000, 2, 8, "end")),
    ("dd 1000 1004", 4, 32, (0x1000, 2, 5, "end")),
    ("dd a b", 4, 32, (0xA, 1, 2, "end")),
    ("db 1000 1000", 1, 128, (0x1000, 1, 1, "end")),
    ("db 1000 L10", 1, 128, (0x1000, 16, 16, "count")),
    ("dd 1000 L10", 4, 32, (0x1000, 16, 64, "count")),
    ("dd 1000 l10", 4, 32, (0x1000, 16, 64, "count")),
    ("dd 1000 L 10", 4, 32, (0x1000, 16, 64, "count")),
    ("dd 1000,L10", 4, 32, (0x1000, 16, 64, "count")),
    ("dd nt!Count + 4 L0n10", 4, 32, (BASE + 4, 10, 40, "count")),
    ("db 80000000 L-20", 1, 128, (0x7FFFFFE0, 0x20, 0x20, "count")),
    ("dd 80000000 L-8", 4, 32, (0x7FFFFFE0, 8, 0x20, "count")),
    ("db 0 L?20000000", 1, 128, (0, 0x20000000, 0x20000000, "count")),
    ("db 0 L10000000", 1, 128, (0, 0x10000000, 0x10000000, "count")),
    ("db 1000 L@rax", 1, 128, (0x1000, 16, 16, "count")),
    ("db 1000 L(2*8)", 1, 128, (0x1000, 16, 16, "count")),
    ("db 1000 L0", 1, 128, (0x1000, 0, 0, "count")),
    ("db . .+3", 1, 128, (BASE + 0x1000, 4, 4, "end")),
    ("db poi(nt!Node) L4", 1, 128, (BASE + 0x100, 4, 4, "count")),
    ("db %1000 L4", 1, 128, (0x1000, 4, 4, "count")),
    ("db 33:1000 L4", 1, 128, (0x1000, 4, 4, "count")),
    ("db &f000:12 L4", 1, 128, (0xF0012, 4, 4, "count")),
    ('ea 1000 "text"', 1, 1, (0x1000, 1, 1, "address")),
]


@pytest.mark.parametrize(("text", "size", "default", "expected"), RANGES)
def test_range(arguments, text, size, default, expected):
    address, count, total, form = expected
    assert arguments(text).range(size, default) == Range(address, count, size, total, form)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("db 1000 fff", "        ^ Range error in 'db 1000 fff'"),
        ("db 0 L10000001", "     ^ Range error in 'db 0 L10000001'"),
        ("dd 0 L4000001", "     ^ Range error in 'dd 0 L4000001'"),
        ("db 0 ffffffffff", "     ^ Range error in 'db 0 ffffffffff'"),
        ("db 0 L?", "       ^ Numeric expression missing from '<EOL>'"),
        ("db nosuch", "Couldn't resolve error at 'nosuch'"),
        ("db 1000 L10 5", "            ^ Extra character error in 'db 1000 L10 5'"),
        ("db 1000 )", "        ^ Numeric expression missing from ')'"),
    ],
)
def test_bad_range(arguments, text, message):
    def take() -> None:
        cursor = arguments(text)
        cursor.range(4 if text[1] == "d" else 1, 1)
        cursor.at_end()

    with pytest.raises(CommandSyntaxError) as caught:
        take()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "size", "expected"),
    [
        ("eb 1 2 3", 1, "010203"),
        ("ed 1 2", 4, "0100000002000000"),
        ("ed ' cbA'", 4, "41626320"),
        ("eb 'h' 'i'", 1, "6869"),
        ("ew 0n1000 -1", 2, "e703"),
        ("ew 0n1000,-1", 2, "e803ffff"),
        ('eb "hi" 0', 1, "686900"),
        ("eq ffffffffffffffff", 8, "ff" * 8),
        ("eb (1+2) 3*4", 1, "030c"),
        ("ed nt!Count", 8, BASE.to_bytes(8, "little").hex()),
        ("eb ff", 1, "ff"),
        ("eb -80", 1, "80"),
    ],
)
def test_values(arguments, text, size, expected):
    assert b"".join(arguments(text).values(size)).hex() == expected


@pytest.mark.parametrize("text", ["eb 100", "eb -81", "eb 1 100"])
def test_values_that_do_not_fit(arguments, text):
    with pytest.raises(CommandSyntaxError, match="Overflow error"):
        arguments(text).values(1)


def test_fill(arguments):
    cursor = arguments("f a L10 'x' 41")
    assert cursor.range().size == 16
    assert cursor.values(1) == [b"x", b"A"]
    assert cursor.done


def test_search(arguments):
    cursor = arguments("s -b a L100 41 42")
    assert cursor.switches("b", "d", "a") == {"b": ""}
    assert cursor.range().size == 0x100
    assert b"".join(cursor.values(1)) == b"AB"


def test_several_expressions(arguments):
    cursor = arguments("e a 1 2+2 (3) nt!Count")
    assert [cursor.expression() for _ in range(5)] == [0xA, 1, 4, 3, BASE]
    assert cursor.done
    assert cursor.optional_expression() is None
    assert cursor.optional_expression(7) == 7
    with pytest.raises(CommandSyntaxError, match="Numeric expression missing"):
        cursor.expression()


def test_words(arguments):
    cursor = arguments('x nt!Ps* , "two words" , last')
    assert cursor.pattern() == "nt!Ps*"
    assert cursor.word() == "two words"
    assert cursor.peek() == "last"
    assert cursor.word() == "last"
    assert cursor.word() is None


def test_pattern_with_blanks(arguments):
    assert arguments('x @!"nt!odd name" 5').pattern() == "nt!odd name"


def test_rest_and_raw(arguments):
    assert arguments("c  two  words ").rest() == "two  words"
    assert arguments("c  two  words ").raw() == " two  words "


@pytest.mark.parametrize(
    ("text", "names", "given", "rest"),
    [
        ("c /f /v x", ("f", "v"), {"f": "", "v": ""}, "x"),
        ("c -fv x", ("f", "v"), {"f": "", "v": ""}, "x"),
        ("c /f/v", ("f", "v"), {"f": "", "v": ""}, ""),
        ("c /ma x", ("m", "ma"), {"ma": ""}, "x"),
        ("c /c 5 x", ("c:",), {"c": "5"}, "x"),
        ("c /c5 x", ("c:",), {"c": "5"}, "x"),
        ("c -1", ("f",), {}, "-1"),
        ("c x /f", ("f",), {}, "x /f"),
        ('c /n "a b" x', ("n:",), {"n": "a b"}, "x"),
        ("c", ("f",), {}, ""),
    ],
)
def test_switches(arguments, text, names, given, rest):
    cursor = arguments(text)
    assert cursor.switches(*names) == given
    assert cursor.rest() == rest


def test_unknown_switch(arguments):
    with pytest.raises(CommandSyntaxError) as caught:
        arguments("c /fx").switches("f")
    assert str(caught.value) == "    ^ Syntax error in 'c /fx'"


def test_glued_flags(context):
    cursor = Arguments("kbn 5", context, 1)
    assert cursor.flags("bn") == "bn"
    assert cursor.expression() == 5


@pytest.mark.parametrize(
    ("text", "escapes", "value"),
    [
        ('c "a b"', False, "a b"), ('c "a\\nb"', False, "a\\nb"), ('c "a\\nb"', True, "a\nb"),
        ('c "say \\"hi\\""', True, 'say "hi"'), ('c "open', False, "open"), ('c ""', False, ""),
        ('c "\\x41\\t"', True, "A\t"), ("c plain", False, None), ('c "end\\', False, "end"),
    ],
)  # fmt: skip
def test_string(arguments, text, escapes, value):
    assert arguments(text).string(escapes=escapes) == value


def test_take(arguments):
    cursor = arguments("r eax = 5")
    assert cursor.word() == "eax"
    assert cursor.take("==", "=") == "="
    assert cursor.take("=") is None
    assert cursor.expression() == 5


def test_default_evaluator_decides(context):
    context.evaluator = "c++"
    cursor = Arguments(".printf 10, 20", context, 7)
    assert (cursor.expression(), cursor.expression()) == (10, 20)
    assert Arguments("c 10", context, 1).masm() == 16
    assert Arguments("c sizeof(_NODE) x", context, 1).cpp().value == 0x40


def test_whole_cpp_errors_quote_the_command(context):
    with pytest.raises(KdsimError) as caught:
        Arguments("?? (1", context, 2).whole_cpp()
    assert str(caught.value) == "     ^ Syntax error in '?? (1'"
    assert Arguments("?? 1, 2", context, 2).whole_cpp().value == 2
