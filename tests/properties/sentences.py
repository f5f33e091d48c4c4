"""Sentences of the command language, made at random: mostly right, sometimes spoilt."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

NUMBERS = ("0", "1", "10", "ff", "0x7f", "0n9", "0t17", "0y101", "12h", "0x", "fffff807`10000000",
           "ffffffffffffffff", "1ffffffffffffffff", "99999999999999999999", "080", "bad",
           "123456789012345678901234567890" * 3)  # fmt: skip
NAMES = ("@rax", "rax", "@$t0", "$t1", "@$proc", "nt", "nt!Count", "Node", "!bad", "$!counter", ".",
         "@zf", "al", "nosuch", '@!"odd name"', "`work.c:1`", "`:12`", "nt!Class::Member", "'Abc '",
         "@$u0", "$ntsym", "nt!", "!", "@", "'", "`")  # fmt: skip
UNARY = ("-", "+", "not ", "hi ", "low ", "by ", "wo ", "dwo ", "qwo ", "poi ", "$pby ", "$ppoi ")
BINARY = ("*", "/", " mod ", "%", "+", "-", "<<", ">>", ">>>", "=", "==", "<", ">", "<=", ">=",
          "!=", " and ", "&", " xor ", "^", " or ", "|")  # fmt: skip
CPP_NAMES = ("@rax", "@$t0", "@$proc", "Node", "Count", "Table", "nt!Node", "KeWork", "inRegister",
             "nosuch", "1.5", "'a'", "L'b'", "5UL", "017", "089", "0x1I64", "1e309",
             "_NODE", "Node.Next->Level", "Node.Name")  # fmt: skip
CPP_BINARY = ("*", "/", "%", "+", "-", "<<", ">>", "==", "!=", "<", ">", "<=", ">=", "&", "|", "^",
              "&&", "||", ",", "=", "+=", "<<=")  # fmt: skip
TYPES = ("int", "unsigned long", "_NODE", "_NODE *", "struct _NODE", "char[4]", "void", "void **",
         "const volatile short &", "nt!_KIND", "double", "ULONG64", "PNODE")  # fmt: skip
COMMANDS = (".echo text", '.printf "%d %s\\n", @$t0', "? 1", "r $t0=1", "fail", "k", "* star",
            "$$ note", "as x 5", "aS x 5", "aS /x n 5", "as /c o .echo x", "ad x", "ad *", "al",
            "r $.u1=text", "$<none", "$$>a<none 1", ".leave", ".break", ".continue",
            "j 1 'k' ; r", "z(0)", "1z(@$t0<3)", "x", "${x}", "${/v:x}",
            "${/d:x}", "$u1", "")  # fmt: skip
SPOILERS = ("", "(", ")", "{", "}", '"', "'", ";", "\n", "\0", "\ud800", "\u202e", "é", "`",
            "$", "\\", "/", "@@(", "((((", "{{{{", "}}}}", " ", "\t", "\r", "*", ".",
            "0" * 400)  # fmt: skip


class Sentences:
    """One stream of sentences; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def _pick(self, *choices: Callable[[int], str]) -> Callable[[int], str]:
        return self.random.choice(choices)

    def _one(self, words: tuple[str, ...]) -> str:
        return self.random.choice(words)

    # ---- expressions ------------------------------------------------------------------------

    def masm(self, depth: int = 4) -> str:
        if depth <= 0 or self.random.random() < 0.2:
            return self._one(NUMBERS + NAMES)
        return self._pick(
            lambda d: f"{self.masm(d)}{self._one(BINARY)}{self.masm(d)}",
            lambda d: f"{self._one(UNARY)}{self.masm(d)}",
            lambda d: f"({self.masm(d)})",
            lambda d: f"@@({self.cpp(d)})",
            lambda d: f"@@masm({self.masm(d)})",
            lambda d: f'$scmp("{self._one(NAMES)}", @"x")',
            lambda d: f"$vvalid({self.masm(d)}, {self.masm(d)})",
            lambda d: f"$fnsucc(nt!KeWork, {self.masm(d)}, 1)",
        )(depth - 1)

    def cpp(self, depth: int = 4) -> str:
        if depth <= 0 or self.random.random() < 0.2:
            return self._one(NUMBERS[:2] + CPP_NAMES)
        return self._pick(
            lambda d: f"{self.cpp(d)} {self._one(CPP_BINARY)} {self.cpp(d)}",
            lambda d: f"{self._one(('-', '!', '~', '*', '&', '++', '--', '+'))}{self.cpp(d)}",
            lambda d: f"({self.cpp(d)})",
            lambda d: f"({self._one(TYPES)}){self.cpp(d)}",
            lambda d: f"sizeof({self._one(TYPES)})",
            lambda d: f"sizeof {self.cpp(d)}",
            lambda d: f"{self.cpp(d)}[{self.cpp(d)}]",
            lambda d: f"{self.cpp(d)}{self._one(('.', '->'))}{self._one(('Next', 'Level', 'No'))}",
            lambda d: f"{self.cpp(d)} ? {self.cpp(d)} : {self.cpp(d)}",
            lambda d: f"@@({self.masm(d)})",
            lambda d: f"#FIELD_OFFSET(_NODE, {self._one(('Next', 'Inner.B[1]', 'No'))})",
            lambda d: f"#CONTAINING_RECORD({self.cpp(d)}, _NODE, Level)",
            lambda d: f"static_cast<{self._one(TYPES)}>({self.cpp(d)})",
            lambda d: f"{self.cpp(d)}{self._one(('++', '--'))}",
        )(depth - 1)

    # ---- lines ------------------------------------------------------------------------------

    def line(self, depth: int = 4) -> str:
        pieces = [self._statement(depth) for _ in range(self.random.randint(1, 3))]
        return self._one(("; ", ";", "\n", " ; ")).join(pieces)

    def _statement(self, depth: int) -> str:
        if depth <= 0 or self.random.random() < 0.3:
            return self._one(COMMANDS)
        return self._pick(
            lambda d: f".if ({self.masm(d)}) {self._body(d)}",
            lambda d: f".if {self.masm(1)} {self._body(d)} .else {self._body(d)}",
            lambda d: f".if (0) {{}} .elsif ({self.masm(1)}){self._body(d)}",
            lambda d: f".while ({self.masm(1)}) {self._body(d)}",
            lambda d: f".do {self._body(d)} ({self.masm(1)})",
            lambda d: f".for ({self._one(COMMANDS)};{self.masm(1)};r $t0=@$t0+1) {self._body(d)}",
            lambda d: f".for (;;) {self._body(d)}",
            lambda d: f".foreach (x {self._body(d)}) {self._body(d)}",
            lambda d: f'.foreach /pS 1 /ps {self.masm(0)} /s (y "a b c") {self._body(d)}',
            lambda d: f'.foreach /f (x "none") {self._body(d)}',
            lambda d: f".catch {self._body(d)}",
            lambda d: f".block {self._body(d)}",
            lambda d: f"? {self.masm(d)}",
            lambda d: f"?? {self.cpp(d)}",
            lambda d: f"j ({self.masm(1)}) '{self._one(COMMANDS)}' ; '{self._one(COMMANDS)}'",
        )(depth - 1)

    def _body(self, depth: int) -> str:
        return f"{{ {self.line(depth)} }}"

    # ---- mistakes ---------------------------------------------------------------------------

    def spoilt(self, text: str) -> str:
        """The sentence with one to three mistakes."""
        for _ in range(self.random.randint(1, 3)):
            start = self.random.randint(0, len(text))
            end = min(len(text), start + self.random.choice((0, 0, 1, 1, 5)))
            text = text[:start] + self._one(SPOILERS) + text[end:]
        return text
