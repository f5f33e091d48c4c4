"""Help pages of what the interpreter executes itself: control flow, scripts, aliases."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Token:
    """Part of the language rather than a command.

    Attributes:
        names: what `.hh` finds it by.
        usage: its forms.
    """

    names: tuple[str, ...]
    usage: tuple[str, ...]
    summary: str
    notes: tuple[str, ...] = ()

    def form(self, name: str) -> str:
        """The form that has this name."""
        return next((form for form in self.usage if form.startswith(name)), self.usage[0])

    def lines(self) -> list[str]:
        return [*self.usage, f"    {self.summary}", *(f"    {note}" for note in self.notes)]


TOKENS = (
    Token(
        (".if", ".elsif", ".else"),
        (".if (condition) { commands } .elsif (condition) { commands } .else { commands }",),
        "Run the commands behind the first condition that is not zero.",
        ("Braces are needed, parentheses are not.",),
    ),
    Token(
        (".for",),
        (".for (command ; condition ; command ...) { commands }",),
        "Run commands as long as a condition is not zero.",
        ('Example: .for (r $t0 = 0; @$t0 < 5; r $t0 = @$t0 + 1) { .printf "%d\\n", @$t0 }',),
    ),
    Token(
        (".while",),
        (".while (condition) { commands }",),
        "Run commands as long as a condition is not zero.",
    ),
    Token(
        (".do",),
        (".do { commands } (condition)",),
        "Run commands once, and again as long as a condition is not zero.",
    ),
    Token(
        (".foreach",),
        (
            ".foreach [/pS n] [/ps n] (name { commands }) { commands with name }",
            '.foreach [/pS n] [/ps n] /s (name "text") { commands with name }',
            '.foreach [/pS n] [/ps n] /f (name "file") { commands with name }',
        ),
        "Run commands for every word of an output, a text or a file.",
        (
            "/pS skips words at the beginning, /ps behind each word that was used.",
            "The name is replaced where blanks stand around it; else write ${name}.",
        ),
    ),
    Token((".break",), (".break",), "Leave the loop."),
    Token((".continue",), (".continue",), "Go on with the next turn of the loop."),
    Token(
        (".catch", ".leave"),
        (".catch { commands }", ".leave"),
        "An error ends the block and not the whole line; .leave ends it too.",
    ),
    Token((".block",), (".block { commands }",), "Run commands; aliases are replaced anew."),
    Token(
        ("j",),
        ("j condition 'commands' ; 'commands'",),
        "Run the first commands if the condition is not zero, else the second.",
    ),
    Token(
        ("z",),
        ("commands ; z(condition)",),
        "Repeat what stands left of it as long as the condition is not zero.",
    ),
    Token(
        ("$<", "$><", "$$<", "$$><", "$$>a<"),
        ("$<file", "$><file", "$$<file", "$$><file", "$$>a<file argument ..."),
        "Run a script: line by line ($< $$<) or as one block ($>< $$>< $$>a<).",
        (
            "Behind $$< $$>< $$>a< a semicolon ends the file's name.",
            "${$arg1}, ${$arg2} ... are the arguments of $$>a<.",
        ),
    ),
    Token(
        ("as", "aS"),
        (
            "as name text",
            'aS name text or "text"',
            "as /e name variable    as /x name expression    aS /f name file",
            "as /ma /mu /msa /msu name address    as /c name commands",
        ),
        "Define an alias: text that is replaced when a line or block is entered.",
        ("as takes the rest of the line, aS ends at a semicolon.", "See also: al ad"),
    ),
    Token(("al",), ("al",), "List the aliases.", ("See also: as ad",)),
    Token(
        ("ad",),
        ("ad [/q] name", "ad [/q] *"),
        "Delete an alias, or all.",
        ("/q: do not complain about one that is not there. See also: as al",),
    ),
    Token(("*",), ("* comment",), "The rest of the line is a comment, semicolons included."),
    Token(("$$",), ("$$ comment",), "A comment up to the next semicolon."),
    Token(
        ("@@", "@@c++", "@@masm"),
        ("@@(expression)", "@@c++(expression)", "@@masm(expression)"),
        "Read an expression in the other language, in C++, in MASM.",
    ),
)


def find(name: str) -> Token | None:
    return next((token for token in TOKENS if name in token.names), None)
