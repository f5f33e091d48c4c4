"""C++ expressions: text to typed value, text to error."""

from __future__ import annotations

import pytest

from kdsim.debugger.language import parse
from kdsim.debugger.language.evaluate import Evaluator
from kdsim.debugger.language.typed_text import typed_text
from kdsim.errors import CommandSyntaxError
from tests.debugger.language.language_fakes import BASE, NODE_AT, TYPES

NODE_TICKED = f"0x{NODE_AT >> 32:08x}`{NODE_AT & 0xFFFFFFFF:08x}"
NAME_TICKED = f"0x{NODE_AT >> 32:08x}`{(NODE_AT + 16) & 0xFFFFFFFF:08x}"

VALUES = [
    # literals
    ("5", "int 0n5"), ("-5", "int 0n-5"), ("0x10", "int 0n16"), ("010", "int 0n8"),
    ("5U", "unsigned int 5"), ("10U", "unsigned int 0xa"), ("5L", "long 0n5"),
    ("5UL", "unsigned long 5"), ("3I64", "int64 0n3"), ("4294967296", "int64 0n4294967296"),
    ("0x80000000", "unsigned int 0x80000000"), ("2147483648", "int64 0n2147483648"),
    ("0xffffffffffffffff", "unsigned int64 0xffffffff`ffffffff"), ("1.5", "double 1.5"),
    ("1.5f", "float 1.5"), ("2e3", "double 2000"), ("'A'", "char 0n65 'A'"),
    ("L'A'", "wchar_t 0x41 'A'"), ("'\\n'", "char 0n10 ''"), ("0x1`00000000", "int64 0n4294967296"),
    # arithmetic and conversions
    ("2+3*4", "int 0n14"), ("7/2", "int 0n3"), ("-7/2", "int 0n-3"), ("-7%3", "int 0n-1"),
    ("7.0/2", "double 3.5"), ("1+1U", "unsigned int 2"), ("-1+0U", "unsigned int 0xffffffff"),
    ("'A'+1", "int 0n66"), ("1L+1", "long 0n2"), ("1UL+1", "unsigned long 2"),
    ("2147483647+1", "int 0n-2147483648"), ("1<<4", "int 0n16"), ("-16>>2", "int 0n-4"),
    ("0x80000000>>31", "unsigned int 1"), ("~0", "int 0n-1"), ("~0U", "unsigned int 0xffffffff"),
    ("!5", "bool false"), ("!0", "bool true"), ("5&3|8^1", "int 0n9"), ("1I64+1U", "int64 0n2"),
    ("+'A'", "int 0n65"), ("1.5f+1.5f", "float 3"), ("1.5f+1", "float 2.5"),
    ("-1.5", "double -1.5"),
    # comparison and logic
    ("1==1", "bool true"), ("1!=1", "bool false"), ("-1<0U", "bool false"), ("-1<0", "bool true"),
    ("1<2&&2<3", "bool true"), ("0||0", "bool false"), ("0&&nosuch", "bool false"),
    ("1||*(int*)0", "bool true"), ("1?2:3", "int 0n2"), ("0?nosuch:3", "int 0n3"),
    ("1,2", "int 0n2"), ("(1,2)+3", "int 0n5"), ("1?2:0?3:4", "int 0n2"), ("2>=2", "bool true"),
    # casts
    ("(unsigned char)0x141", "unsigned char 0x41 'A'"), ("(char)200", "char 0n-56 ''"),
    ("(short)-1", "short 0n-1"), ("(unsigned short)-1", "unsigned short 0xffff"),
    ("(unsigned __int64)-1", "unsigned int64 0xffffffff`ffffffff"), ("(int)3.9", "int 0n3"),
    ("(float)3", "float 3"), ("(bool)7", "bool true"), ("(ULONG)-1", "unsigned long 0xffffffff"),
    ("(ULONG64)1", "unsigned int64 1"), ("(long long)1", "int64 0n1"),
    ("(unsigned)1", "unsigned int 1"), ("(unsigned long int)1", "unsigned long 1"),
    ("(_KIND)7", "_KIND KindSome (0n7)"), ("(_KIND)3", "_KIND 0n3"),
    ("(enum _KIND)0", "_KIND KindNone (0n0)"), ("(void *)0", "void * 0x00000000`00000000"),
    ("(_NODE *)0x10", "struct _NODE * 0x00000000`00000010"),
    ("(struct nt!_NODE **)0", "struct _NODE ** 0x00000000`00000000"),
    ("(PNODE)0", "struct _NODE * 0x00000000`00000000"), ("(PVOID)0", "void * 0x00000000`00000000"),
    ("reinterpret_cast<_NODE*>(16)", "struct _NODE * 0x00000000`00000010"),
    ("(const _NODE * const)0", "struct _NODE * 0x00000000`00000000"), ("(int)-1", "int 0n-1"),
    ("(LONG)0xffffffff", "long 0n-1"), ("(unsigned char)1 + 1", "int 0n2"),
    # variables and members
    ("Count", "unsigned long 0x12345678"), ("nt!Count", "unsigned long 0x12345678"),
    ("Node", "struct _NODE"), ("Node.Count", "unsigned long 5"), ("Node.Level", "long 0n-3"),
    ("Node.Next", f"struct _NODE * {NODE_TICKED}"), ("Node.Next->Level", "long 0n-3"),
    ("Node.Next->Next->Count", "unsigned long 5"), ("Node.Low", "unsigned long 9"),
    ("Node.High", "unsigned long 0xabc"), ("Node.Inner.A", "short 0n-1"),
    ("Node.Inner.B[1]", "unsigned long 8"), ("Node.Rate", "double 1.5"),
    ("Node.Kind", "_KIND KindSome (0n7)"), ("Node.Text", "char 0n120 'x'"),
    ("(*Node.Next).Count", "unsigned long 5"), ("Node.Next.Count", "unsigned long 5"),
    ("((_NODE *)@$proc)->Count", "unsigned long 5"), ("@$proc->Count", "unsigned long 5"),
    ("inRegister", "long 0n-9"), ("Node.Inner", "struct _INNER"),
    ("Table[2]", "unsigned long 0x16"),
    ("2[Table]", "unsigned long 0x16"), ("*(Table+1)", "unsigned long 0xb"),
    ("*Table", "unsigned long 0"),
    ("Node.Count + Node.Low", "unsigned long 0xe"), ("-Node.Level", "long 0n3"),
    ('@!"Count"', "unsigned long 0x12345678"), ("Node.Name[0]", "unsigned char 0x53 'S'"),
    ("Node.Name", f'unsigned char [8] {NAME_TICKED} "System"'),
    ("@rax", "unsigned int64 0x10"), ("@rax * 2", "unsigned int64 0x20"),
    ("@$ra", "unsigned int64 0x55"),
    # pointers
    ("&Node", f"struct _NODE * {NODE_TICKED}"), ("&Node == Node.Next", "bool true"),
    ("(_NODE *)0 + 2", "struct _NODE * 0x00000000`00000080"),
    ("1 + (_NODE *)0", "struct _NODE * 0x00000000`00000040"),
    ("(_NODE *)0x80 - 1", "struct _NODE * 0x00000000`00000040"),
    ("(_NODE *)0x80 - (_NODE *)0", "int64 0n2"), ("(void *)0 + 5", "void * 0x00000000`00000005"),
    ("&((_NODE *)0)->Level", "long * 0x00000000`0000000c"),
    ("(int)&((_NODE *)0)->Rate", "int 0n48"),
    ("*(unsigned char *)&Count", "unsigned char 0x78 'x'"), ("&Table[1] - &Table[0]", "int64 0n1"),
    ("(unsigned int64)&Count == @@masm(nt!Count)", "bool true"), ("!Node.Next", "bool false"),
    ("*&Count", "unsigned long 0x12345678"), ("&Node.Inner.B[2] > &Node.Inner.B[0]", "bool true"),
    # sizeof and macros
    ("sizeof(_NODE)", "unsigned int64 0x40"), ("sizeof(int)", "unsigned int64 4"),
    ("sizeof Node", "unsigned int64 0x40"), ("sizeof(Node.Inner)", "unsigned int64 0x10"),
    ("sizeof(*(_NODE *)0)", "unsigned int64 0x40"),
    ("sizeof(((_NODE *)0)->Name)", "unsigned int64 8"),
    ("sizeof(_NODE *)", "unsigned int64 8"), ("sizeof(char[5])", "unsigned int64 5"),
    ("sizeof(Table)/sizeof(Table[0])", "unsigned int64 4"), ("sizeof 1.5f", "unsigned int64 4"),
    ("#FIELD_OFFSET(_NODE, Inner.B)", "long 0n36"), ("#FIELD_OFFSET(nt!_NODE, Level)", "long 0n12"),
    ("#FIELD_OFFSET(_NODE, Inner.B[1])", "long 0n40"),
    ("#RTL_FIELD_SIZE(_NODE, Name)", "unsigned int64 8"),
    ("#RTL_NUMBER_OF(Table)", "unsigned int64 4"),
    ("#RTL_SIZEOF_THROUGH_FIELD(_NODE, Level)", "unsigned int64 0x10"),
    ("#CONTAINING_RECORD(0x120, _NODE, Inner)", "struct _NODE * 0x00000000`00000100"),
    ("#CONTAINING_RECORD(&Node.Level, _NODE, Level)->Count", "unsigned long 5"),
    ("#RTL_CONTAINS_FIELD(@$proc, 0x10, Level)", "bool true"),
    ("#RTL_CONTAINS_FIELD(@$proc, 0xf, Level)", "bool false"),
    # the other evaluator
    ("@@(10)", "unsigned int64 0x10"),
    ("@@masm(poi(nt!Node)) == (unsigned int64)Node.Next", "bool true"),
    ("@@c++(10)", "int 0n10"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "shown"), VALUES)
def test_value(context, text, shown):
    assert typed_text(context, Evaluator(context).cpp(text)) == shown


ASSIGNMENTS = [
    ("Count = 7", "unsigned long 7", "Count", 7),
    ("Count = -1", "unsigned long 0xffffffff", "Count", 0xFFFFFFFF),
    ("Count += 8", "unsigned long 0x12345680", "Count", 0x12345680),
    ("Count <<= 4", "unsigned long 0x23456780", "Count", 0x23456780),
    ("Count++", "unsigned long 0x12345678", "Count", 0x12345679),
    ("++Count", "unsigned long 0x12345679", "Count", 0x12345679),
    ("Count--", "unsigned long 0x12345678", "Count", 0x12345677),
    ("Node.Low = 0x1f", "unsigned long 0xf", "Node.High", 0xABC),
    ("Node.High = 1", "unsigned long 1", "Node.Low", 9),
    ("Node.Level = Node.Count = 4", "long 0n4", "Node.Level", 4),
    ("Node.Rate = 3", "double 3", "Node.Rate", 3.0),
    ("*(char *)&Count = 1", "char 0n1 ''", "Count", 0x12345601),
    ("Table[1] = 99", "unsigned long 0x63", "Table[1]", 99),
    ("Node.Next++", f"struct _NODE * {NODE_TICKED}", "Node.Next", NODE_AT + 0x40),
    ("Node.Kind = 0", "_KIND KindNone (0n0)", "Node.Kind", 0),
]


@pytest.mark.parametrize(("text", "shown", "place", "after"), ASSIGNMENTS)
def test_assignment_writes_memory(context, text, shown, place, after):
    evaluator = Evaluator(context)
    assert typed_text(context, evaluator.cpp(text)) == shown
    assert evaluator.cpp(place).value == after


ERRORS = [
    ("", "^ Numeric expression missing from '<EOL>'"),
    ("1+", "  ^ Numeric expression missing from '<EOL>'"),
    ("(1", "  ^ Syntax error in '(1'"),
    ("1 2", "  ^ Extra character error in '1 2'"),
    ("nosuch", "Couldn't resolve error at 'nosuch'"),
    ("Node.Nosuch", "Couldn't resolve error at 'Nosuch'"),
    ("Node->Count", "Type conflict error at 'Count'"),
    ("Count.X", "Type conflict error at 'X'"),
    ("*5", "Type conflict error at '*5'"),
    ("*(void *)0", "Type conflict error at '*(void *)0'"),
    ("1/0", "Operand error at '1/0'"),
    ("1%0", "Operand error at '1%0'"),
    ("1.0/0", "Operand error at '1.0/0'"),
    ("@nosuch", "Bad register error at '@nosuch'"),
    ("@rax = 5", "Type conflict error at '@rax = 5'"),
    ("@$t0 = 5", "Type conflict error at '@$t0 = 5'"),
    ("5 = 5", "Type conflict error at '5 = 5'"),
    ("Node = 5", "Type conflict error at 'Node = 5'"),
    ("Node + 1", "Type conflict error at 'Node + 1'"),
    ("&5", "Type conflict error at '&5'"),
    ("&Node.Low", "Type conflict error at '&Node.Low'"),
    ("(void *)0 * 2", "Type conflict error at 'void *)0 * 2'"),
    ("1.5 & 1", "Type conflict error at '1.5 & 1'"),
    ("1.5 % 1", "Type conflict error at '1.5 % 1'"),
    ("1.5 << 1", "Type conflict error at '1.5 << 1'"),
    ("~1.5", "Type conflict error at '~1.5'"),
    ("(struct nosuch *)0", "Couldn't resolve error at 'nosuch *)0'"),
    ("(_NODE)5", "Type conflict error at '_NODE)5'"),
    ("*(int *)0", "Memory access error at '*(int *)0' (outside the bytes at hand)"),
    ("((_NODE *)0)->Count", "Memory access error at 'Count' (outside the bytes at hand)"),
    ("*(int *)0 = 5", "Memory access error at '*(int *)0 = 5' (outside the bytes at hand)"),
    ("#NOSUCH(1)", "Type conflict error at '#NOSUCH(1)'"),
    ("#FIELD_OFFSET(_NODE, Nosuch)", "Couldn't resolve error at 'Nosuch)'"),
    ("#FIELD_OFFSET(_NOSUCH, X)", "Couldn't resolve error at '_NOSUCH, X)'"),
    ("0n10", "^ Numeric expression missing from '0n10'"),
    ("99999999999999999999", "^ Overflow error in '99999999999999999999'"),
    (".", "^ Numeric expression missing from '.'"),
    ("Node.", "     ^ Syntax error in 'Node.'"),
]


@pytest.mark.parametrize(("text", "message"), ERRORS)
def test_error(context, text, message):
    with pytest.raises(CommandSyntaxError) as caught:
        Evaluator(context).cpp(text)
    assert str(caught.value) == message


TREES = [
    ("(a)*b", "(a * b)"), ("(_NODE)*b", "((_NODE)(* b))"), ("(a)-b", "(a - b)"),
    ("(_NODE*)-1", "((_NODE *)(- 1))"), ("(int)a.b", "((int)a.b)"), ("-a.b", "(- a.b)"),
    ("*p++", "(* (p ++))"), ("a+++b", "((a ++) + b)"), ("a=b=c", "(a = (b = c))"),
    ("a?b:c?d:e", "(a ? b : (c ? d : e))"), ("a||b&&c|d^e&f==g<h<<i+j*k", None),
    ("&a[1]", "(& a[1])"), ("!a==b", "((! a) == b)"), ("sizeof a*b", "(sizeof(a) * b)"),
    ("nt!a!=nt!b", "(nt!a != nt!b)"), ("a<b>c", "((a < b) > c)"), ("a->b.c[1]->d", "a->b.c[1]->d"),
    ("a::b::c", "a::b::c"), ("(const volatile int*)a", "((int *)a)"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "tree"), [t for t in TREES if t[1]])
def test_tree(text, tree):
    parsed = parse.cpp(text, is_type=TYPES.__contains__)
    assert (str(parsed.tree), parsed.end) == (tree, len(text))


def test_comma_ends_an_argument():
    assert parse.cpp("a, b").end == 1
    assert parse.cpp("a, b", full=True).end == 4


def test_default_evaluator(context):
    context.evaluator = "c++"
    evaluator = Evaluator(context)
    assert evaluator.evaluate("10") == 10
    assert evaluator.evaluate("-1") == (1 << 64) - 1
    assert evaluator.evaluate("@@masm(10)") == 16
    assert evaluator.evaluate("&nt!Count") == BASE


def test_accepts():
    assert {"NAME", "REGISTER", "NUMBER"} <= parse.accepts("Node.Count + ", "cpp")
    assert {"DOT", "ARROW", "STEP", "$END"} <= parse.accepts("Node", "cpp")
    assert parse.accepts("Node.", "cpp") == {"NAME", "TYPE_NAME"}
