"""The language's own commands: `.printf`, `.formats`, `n`, `.expr`, `.echo`, `?`, `??`."""

from __future__ import annotations

import time

import pytest

from kdsim.debugger.language import commands
from kdsim.debugger.language.arguments import Arguments
from kdsim.errors import CommandSyntaxError, KdsimError
from tests.debugger.language.language_fakes import (
    ANSI_AT,
    BASE,
    NODE_AT,
    TEXT_AT,
    UNICODE_AT,
    WIDE_AT,
)

HERE = f"{BASE >> 32:08x}`{(BASE + 0x1012) & 0xFFFFFFFF:08x}"

PRINTED = [
    ('"plain"', "plain"), ('"a\\tb\\n"', "a\tb\n"), ('"100%%"', "100%"), ('"%d", 0n10', "10"),
    ('"%d", -1', "-1"), ('"%i", ffffffff', "-1"), ('"%u", -1', "4294967295"), ('"%x", abc', "abc"),
    ('"%X", abc', "ABC"), ('"%o", 8', "10"), ('"%c%c", 41, \'b\'', "Ab"),
    ('"%08x", 1f', "0000001f"),
    ('"%-4d|", 5', "5   |"), ('"%4d|", 5', "   5|"), ('"%+d", 5', "+5"), ('"%#x", 5', "0x5"),
    ('"%#o", 8', "010"), ('"%.3d", 5', "005"), ('"%x", 1`00000002', "2"),
    ('"%I64x", 1`00000002', "100000002"), ('"%I64d", -1', "-1"), ('"%lld", -2', "-2"),
    ('"%ld", -2', "-2"), ('"%hx", 12345', "2345"), ('"%I64u", -1', "18446744073709551615"),
    ('"%p", 1234', "0000000000001234"), ('"%p", nt', f"{BASE:016x}"),
    ('"%N", 1', "0000000000000001"),
    (f'"%ma", {TEXT_AT:x}', "hello world"), (f'"%mu!", {WIDE_AT:x}', "wide!"),
    (f'"%msa", {ANSI_AT:x}', "hello"), (f'"%msu", {UNICODE_AT:x}', "wide"),
    (f'"%.2ma", {TEXT_AT:x}', "he"), (f'"%7msu|", {UNICODE_AT:x}', "   wide|"),
    ('"%y", nt+1012', f"nt!KeWork+0x12 ({HERE})"),
    ('"%ly", nt+1012', f"nt!KeWork+0x12 ({HERE}) [work.c @ 12]"),
    ('"%f", 3fc00000', "1.500000"), ('"%g", 3fc00000', "1.5"),
    ('"%lf", 3ff80000`00000000', "1.500000"),
    ('"%.1e", 3fc00000', "1.5e+00"), ('"%d %d", 1, 2', "1 2"), ('"%d" 1', "1"),
    ('/D "%d", 1', "1"), ('/ow "hi"', "hi"), ('"%d, %x", 0n10 + 5, @$t0', "15, 0"),
    ('"\\"quoted\\""', '"quoted"'), ('"%d", 1, 2', "1"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "printed"), PRINTED)
def test_printf(context, text, printed):
    assert commands.printf(Arguments(f".printf {text}", context, 7)) == printed


@pytest.mark.parametrize(
    "text", ["", "5", '"%d"', '"%q", 1', '"%', '"%ma", 0', '"%d", nosuch', '/q "x"', '"%msu", 0']
)
def test_printf_errors(context, text):
    with pytest.raises(KdsimError):
        commands.printf(Arguments(f".printf {text}", context, 7))


@pytest.fixture
def _greenwich(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_greenwich")
def test_formats(context):
    shown = commands.formats(Arguments(".formats 1c407e62", context, 8)).lines()
    assert shown == [
        "Evaluate expression:",
        "  Hex:     00000000`1c407e62",
        "  Decimal: 473988706",
        "  Octal:   0000000000003420077142",
        "  Binary:  00000000 00000000 00000000 00000000 00011100 01000000 01111110 01100010",
        "  Chars:   .....@~b",
        "  Time:    Mon Jan  7 23:31:46 1985",
        "  Float:   low 6.36908e-22 high 0",
        "  Double:  2.34182e-315",
    ]


@pytest.mark.usefixtures("_greenwich")
@pytest.mark.parametrize(
    ("value", "row"),
    [
        ("01d9f1c0`00000000", "  Time:    Thu Sep 28 03:58:12.015 2023 (UTC + 0:00)"),
        ("-1", "  Time:    ***** Invalid FILETIME"),
        ("0", "  Time:    Thu Jan  1 00:00:00 1970"),
        ("-1", "  Float:   low -nan high -nan"),
        ("3ff80000`00000000", "  Double:  1.5"),
        ("-1", "  Octal:   1777777777777777777777"),
        ("-1", "  Decimal: -1"),
        ("7ff00000`00000000", "  Double:  inf"),
    ],
)
def test_formats_rows(context, value, row):
    assert row in commands.formats(Arguments(f".formats {value}", context, 8)).lines()


def test_radix(context):
    assert commands.radix(Arguments("n", context, 1)).lines() == ["base is 16"]
    assert commands.radix(Arguments("n 8", context, 1)).lines() == ["base is 8"]
    assert commands.radix(Arguments("n10", context, 1)).lines() == ["base is 10"]
    assert commands.radix(Arguments("n 16", context, 1)).lines() == ["base is 16"]
    with pytest.raises(CommandSyntaxError):
        commands.radix(Arguments("n 12", context, 1))


def test_expression_evaluator(context):
    def run(text):
        return commands.expression_evaluator(Arguments(text, context, 5)).lines()

    masm = "Current expression evaluator: MASM - Microsoft Assembler expressions"
    cpp = "Current expression evaluator: C++ - C++ source expressions"
    assert run(".expr") == [masm]
    assert run(".expr /s c++") == [cpp]
    assert run(".expr") == [cpp]
    assert run(".expr /s masm") == [masm]
    with pytest.raises(CommandSyntaxError):
        run(".expr /s basic")


@pytest.mark.parametrize(
    ("text", "lines"),
    [(" a  b ", ["a  b"]), (' "a;b"', ["a;b"]), ("", [""]), (' "a" b', ['"a" b'])],
)
def test_echo(context, text, lines):
    assert commands.echo(Arguments(f".echo{text}", context, 5)).lines() == lines


def test_evaluate_remembers_its_value(context):
    assert commands.evaluate(Arguments("? 2+3", context, 1)).value == 5
    assert context.pseudo("$exp") == 5


def test_typed_evaluation(context):
    shown = commands.evaluate_typed(Arguments("?? &Node", context, 2))
    assert shown.lines() == [f"struct _NODE * 0x{NODE_AT >> 32:08x}`{NODE_AT & 0xFFFFFFFF:08x}"]
    assert shown.result.number() == NODE_AT


def test_pointer_to_characters_shows_the_string(context):
    shown = commands.evaluate_typed(Arguments(f"?? (char *)0x{TEXT_AT:x}", context, 2))
    assert shown.lines()[0].endswith('"hello world"')
    broken = commands.evaluate_typed(Arguments("?? (wchar_t *)16", context, 2))
    assert "memory read error at address" in broken.lines()[0]
