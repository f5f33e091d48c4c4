"""MASM expressions: text to value, text to error."""

from __future__ import annotations

import pytest

from kdsim.debugger.language import parse
from kdsim.debugger.language.evaluate import Evaluator
from kdsim.errors import CommandSyntaxError
from tests.debugger.language.language_fakes import ANSI_AT, BASE, NODE_AT, TEXT_AT

M = (1 << 64) - 1

VALUES = [
    # numbers
    ("0", 0), ("10", 0x10), ("ff", 0xFF), ("FF", 0xFF), ("0x10", 16), ("0X1f", 31),
    ("0n10", 10), ("0N99", 99), ("0t17", 15), ("0y1011", 11), ("0x", 0), ("0n", 0), ("0t", 0),
    ("0y", 0), ("4AB3h", 0x4AB3), ("10h", 16), ("0ffh", 255), ("bh", 0xB), ("bad", 0xBAD),
    ("fade", 0xFADE), ("ffffffffffffffff", M), ("fffff807`10000000", BASE),
    ("1`0", 1 << 32), ("0x1`00000002", (1 << 32) + 2), ("`1", None), ("00000000`80000000", 1 << 31),
    ("80000000", 1 << 31), ("0xfffff80710000000", BASE),
    # unary
    ("-1", M), ("+5", 5), ("--5", 5), ("not 0", 1), ("not 5", 0), ("not not 7", 1),
    ("hi 12345678", 0x1234), ("low 12345678", 0x5678), ("hi(12345678)", 0x1234), ("-1+2", 1),
    ("low -1", 0xFFFF), ("- - 3", 3),
    # memory
    ("by(nt!Count)", 0x78), ("wo(nt!Count)", 0x5678), ("dwo(nt!Count)", 0x12345678),
    ("qwo(nt!Count)", 0x12345678), ("poi(nt!Node)", NODE_AT), ("poi nt!Node", NODE_AT),
    ("poi nt!Node+8", NODE_AT + 8), ("poi(poi(nt!Node))", NODE_AT), ("POI(nt!Node)", NODE_AT),
    ("by nt!Text", ord("h")), ("$pby(1)", 1), ("$pwo(1)", 0x201), ("$pdwo 0", 0x03020100),
    ("$pqwo(0)", 0x0706050403020100), ("$ppoi(8)", 0x0F0E0D0C0B0A0908),
    ("dwo(@rsp+4)", 11), ("poi(@rsp)&ff", 0),
    # binary operators and their order
    ("2+3*4", 14), ("(2+3)*4", 20), ("a-3-2", 5), ("10/4", 4), ("10 mod 3", 1), ("10%3", 1),
    ("7 mod 4 * 2", 6), ("2*7 mod 4", 2), ("1<<4", 16), ("1<<2+2", 16), ("100>>4", 16),
    ("-1>>3f", 1), ("-1>>>3f", M), ("8000000000000000>>>3f", M), ("4>>>1", 2), ("1<<40", 1),
    ("1=1", 1), ("1==2", 0), ("1!=2", 1), ("1<2", 1), ("2<1", 0), ("2>1", 1), ("2<=2", 1),
    ("3>=4", 0), ("-1<0", 0), ("1<2=1", 1), ("1+1=2", 1), ("f&3", 3), ("f and 3", 3),
    ("5 xor 1", 4), ("5^1", 4), ("5 or 2", 7), ("5|2", 7), ("1|2&3", 3), ("3&1=1", 1),
    ("1 or 2 xor 2", 1), ("6 xor 2 and 3", 4), ("0-1", M), ("ffffffffffffffff+2", 1),
    ("ffffffffffffffff*2", M - 1), ("10-20", M - 15), ("1 AND 1", 1), ("-8/2", 0x7FFFFFFFFFFFFFFC),
    ("2 * -3", M - 5), ("(1)", 1), ("((1+2))", 3), ("1 << 2 << 3", 32), ("0n100 / 0n7", 14),
    # names
    ("nt", BASE), ("nt!Count", BASE), ("NT!COUNT", BASE), ("Count", BASE), ("count+4", BASE + 4),
    ("!bad", BASE + 0xBAD), ("nt!bad", BASE + 0xBAD), ("nt!Class::Member", BASE + 0x300),
    ("Class__Member", BASE + 0x300), ("$!counter", BASE), ('@!"nt!odd name"', BASE + 0x310),
    ('@!"nt!odd name"+1', BASE + 0x311), ("nt+1000", BASE + 0x1000), ("-nt!Count", -BASE & M),
    # registers
    ("rax", 0x10), ("@rax", 0x10), ("@RAX", 0x10), ("RAX+1", 0x11), ("@al", 0x7F), ("al", 0x7F),
    ("@zf", 1), ("@$t0", 0), ("$t0", 0), ("@$ra", 0x55), ("$ra*2", 0xAA), ("@$proc", NODE_AT),
    ("rsp-8", BASE + 0x78), ("@rsp+@rax*2", BASE + 0xA0),
    # the current instruction and source lines
    (".", BASE + 0x1000), (".+5", BASE + 0x1005), (". - 1", BASE + 0xFFF),
    ("`nt!work.c:12`", BASE + 0x100C), ("`work.c:0x12`", BASE + 0x1012), ("`:3`", BASE + 0x1003),
    ("`work.c`", BASE + 0x1000), ("`work.c:`+1", BASE + 0x1001),
    # characters
    ("'a'", 0x61), ("'Abc '", 0x41626320), ("' cbA'", 0x20636241),
    ("'12345678'", 0x3132333435363738),
    ("'a'+1", 0x62), ("';'", 0x3B),
    # functions
    ('$scmp("a","a")', 0), ('$scmp("a","b")', M), ('$scmp("b","a")', 1), ('$scmp("a","A")', 1),
    ('$sicmp("a","A")', 0), ('$spat("main.c","*.c")', 1), ('$spat("MAIN","ma?n")', 1),
    ('$spat("x","y")', 0), ('$spat("Loop","Lo#p")', 1), ('$spat("Lp","Lo+p")', 0),
    ('$spat(@"c:\\dir\\", "c:*")', 1), ('$scmp("a\\"b","a\\"b")', 0),
    ("$vvalid(nt,10)", 1), ("$vvalid(nt,10000)", 0), ("$vvalid(0,1)", 0),
    ("$fnsucc(nt!KeWork,0,0)", 1), ("$fnsucc(nt!KeWork,c0000005,0)", 0), ('$SCMP("a","a") + 1', 1),
    # the other evaluator
    ("@@(1+1)", 2), ("@@c++(10)", 10), ("@@masm(10)", 16), ("@@c++(sizeof(_NODE))", 0x40),
    ("@@( nt!Node.Count ) * 2", 10), ("@@c++(@@masm(10)+10)", 26), ("1 + @@((2)*(3))", 7),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), [v for v in VALUES if v[1] is not None])
def test_value(context, text, value):
    assert Evaluator(context).masm(text) == value


RADIX = [
    (10, "10", 10), (10, "0x10", 16), (10, "99", 99), (10, "10h", 16), (8, "17", 15),
    (8, "0n10", 10), (10, "bad", BASE + 0xBAD), (8, "777", 0o777), (10, "nt+10", BASE + 10),
]  # fmt: skip


@pytest.mark.parametrize(("radix", "text", "value"), RADIX)
def test_radix(context, radix, text, value):
    context.radix = radix
    assert Evaluator(context).masm(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("890ABCDE", 0xFFFFFFFF890ABCDE),
        ("0x890ABCDE", 0xFFFFFFFF890ABCDE),
        ("00000000890ABCDE", 0xFFFFFFFF890ABCDE),
        ("0`890ABCDE", 0x890ABCDE),
        ("7fffffff", 0x7FFFFFFF),
        ("7fffffff+1", 0x80000000),
    ],
)
def test_sign_extension_on_32_bit_targets(context, text, value):
    context.pointer_size = 4
    assert Evaluator(context).masm(text) == value


ERRORS = [
    ("", "^ Numeric expression missing from '<EOL>'"),
    ("1+", "  ^ Numeric expression missing from '<EOL>'"),
    ("1 + * 2", "    ^ Numeric expression missing from '* 2'"),
    ("(1", "  ^ Syntax error in '(1'"),
    ("(", " ^ Numeric expression missing from '<EOL>'"),
    ("1 2", "  ^ Extra character error in '1 2'"),
    ("1)", " ^ Extra character error in '1)'"),
    ("nosuch", "Couldn't resolve error at 'nosuch'"),
    ("1 + nosuch*2", "Couldn't resolve error at 'nosuch*2'"),
    ("nt!nosuch", "Couldn't resolve error at 'nt!nosuch'"),
    ("!nosuch", "Couldn't resolve error at '!nosuch'"),
    ("$!nosuch", "Couldn't resolve error at '$!nosuch'"),
    ('@!"no such"', "Couldn't resolve error at '@!\"no such\"'"),
    ("@nosuch", "Bad register error at '@nosuch'"),
    ("1+@$nosuch", "Bad register error at '@$nosuch'"),
    ("poi(0)", "Memory access error at ')' (outside the bytes at hand)"),
    ("by 0", "Memory access error at '0' (outside the bytes at hand)"),
    ("$pby(1000)", "Memory access error at ')' (outside the bytes at hand)"),
    ("1 + poi( 8 + 8 ) + 2", "Memory access error at ') + 2' (outside the bytes at hand)"),
    ("poi 8 + 2", "Memory access error at '8 + 2' (outside the bytes at hand)"),
    ("1/0", "Operand error at '0'"),
    ("1 mod 0", "Operand error at '0'"),
    ("$scmp(1,2)", "Operand error at '$scmp(1,2)'"),
    ('$scmp("a")', "Operand error at '$scmp(\"a\")'"),
    ("$vvalid(1)", "Operand error at '$vvalid(1)'"),
    ("10000000000000000", "^ Overflow error in '10000000000000000'"),
    ("1+0x10000000000000000", "  ^ Overflow error in '1+0x10000000000000000'"),
    ("'123456789'", "^ Overflow error in ''123456789''"),
    ("''", "^ Syntax error in ''''"),
    ("`nosuch.c:1`", "Couldn't resolve error at '`nosuch.c:1`'"),
    ('"text"', "^ Numeric expression missing from '\"text\"'"),
    ("@@ (1)", "^ Numeric expression missing from '@@ (1)'"),
    ("1 + @@(2 +)", "          ^ Numeric expression missing from ')'"),
    ("@@(nosuch)", "Couldn't resolve error at 'nosuch)'"),
    ("0n12x", "Couldn't resolve error at '0n12x'"),
    ("12g", "Couldn't resolve error at '12g'"),
    ("#", "^ Numeric expression missing from '#'"),
    ("1 ; 2", "  ^ Extra character error in '1 ; 2'"),
]


@pytest.mark.parametrize(("text", "message"), ERRORS)
def test_error(context, text, message):
    with pytest.raises(CommandSyntaxError) as caught:
        Evaluator(context).masm(text)
    assert str(caught.value) == message


TREES = [
    ("1+2*3", "(1 + (2 * 3))"),
    ("1-2-3", "((1 - 2) - 3)"),
    ("a or b and c", "(a | (b & c))"),
    ("a xor b or c", "((a ^ b) | c)"),
    ("1<<2<3", "((1 << 2) < 3)"),
    ("1 & 2 = 3", "(1 & (2 == 3))"),
    ("poi a+4", "((poi a) + 4)"),
    ("-poi(a)", "(- (poi a))"),
    ("not a = b", "((not a) == b)"),
    ("by by by a", "(by (by (by a)))"),
    ("low!x", "low!x"),
    ("modern", "modern"),
    ("mod!x mod 2", "(mod!x % 2)"),
    ("order or andy", "(order | andy)"),
    ("not!x", "not!x"),
    ("a>>>b>>c", "((a >>> b) >> c)"),
    ("nt!?f@@YAXXZ", "nt!?f@@YAXXZ"),
    ("a::b::~c", "a::b::~c"),
    ("0x12h", None),
    ("$t0+$t1", "($t0 + $t1)"),
    ("fffff807`1+1", "(fffff807`1 + 1)"),
    (". + .", "(. + .)"),
    ("@@( (a) )", "@@( (a) )"),
    ('@@c++( "x)" )', '@@c++( "x)" )'),
]


@pytest.mark.parametrize(("text", "tree"), [t for t in TREES if t[1]])
def test_tree(text, tree):
    parsed = parse.masm(text)
    assert (str(parsed.tree), parsed.end) == (tree, len(text))


PREFIXES = [
    ("a b", "a"), ("nt!x + 4 L10", "nt!x + 4"), ("a L10 'x'", "a"), ("1 2 3", "1"),
    ('x "kb; g"', "x"), ("a = b", "a = b"), ("5, 6", "5"), ("poi(x) poi(y)", "poi(x)"),
    ("a -b", "a -b"), ("x; k", "x"), ("(x) 'a'", "(x)"), ("x) y", "x"), ("a [3]", "a"),
    ("nt!x L?5", "nt!x"), (". L5", "."), ("@rax:", "@rax"), ("1 {", "1"), ("a #b", "a"),
    ("a \\", "a"), ("x .", "x"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "prefix"), PREFIXES)
def test_longest_prefix(text, prefix):
    assert text[: parse.masm(text).end] == prefix


@pytest.mark.parametrize(
    ("text", "some", "complete"),
    [
        ("", {"WORD", "NUMBER", "REGISTER", "UNARY", "LPAR"}, False),
        ("poi(", {"WORD", "LPAR"}, False),
        ("nt!x ", {"SIGN", "PRODUCT", "COMPARE"}, True),
        ("(1", {"RPAR", "SIGN"}, False),
        ("$scmp(", {"STRING", "WORD"}, False),
    ],
)
def test_accepts(text, some, complete):
    accepted = parse.accepts(text)
    assert some <= accepted
    assert ("$END" in accepted) is complete


def test_accepts_nothing_after_nonsense():
    assert parse.accepts("1 + )") == frozenset()


def test_memory_is_read_when_evaluated(context):
    evaluator = Evaluator(context)
    assert evaluator.masm("by(nt!Text)") == ord("h")
    context.memory.write(TEXT_AT, b"j")
    assert evaluator.masm("by(nt!Text)") == ord("j")
    assert evaluator.masm(f"wo({ANSI_AT:x})") == 5
