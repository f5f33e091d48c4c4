"""Looking commands up, and the declarations themselves."""

from __future__ import annotations

import dataclasses
import importlib
import re
import sys
from dataclasses import dataclass

import pytest

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands import absent, docs, help, registry, tokens
from kdsim.debugger.commands.catalogue import CATALOGUE, REGISTRY
from kdsim.debugger.commands.registry import (
    AbsentCommand,
    Command,
    HelpPage,
    Option,
    Param,
    refuse,
    render,
    to_json,
)
from kdsim.errors import UnknownCommand, Unsupported
from kdsim.resources import resource_path


@pytest.mark.parametrize(
    ("text", "name", "rest", "processor"),
    [
        pytest.param("dd nt!x L4", "dd", " nt!x L4", None, id="plain"),
        pytest.param("dD 5", "dD", " 5", None, id="case differs"),
        pytest.param("DB 5", "db", " 5", None, id="upper case"),
        pytest.param("KB 5", "kb", " 5", None, id="upper case of k"),
        pytest.param("D", "d", "", None, id="one letter"),
        pytest.param("DPS x", "dps", " x", None, id="upper case of dps"),
        pytest.param("Kvnf 5", "kvnf", " 5", None, id="upper case and letters"),
        pytest.param("recx=5", "r", "ecx=5", None, id="glued register"),
        pytest.param("r$t0=1", "r", "$t0=1", None, id="glued pseudo-register"),
        pytest.param("rm 2", "rm", " 2", None, id="rm is no r m"),
        pytest.param("rdmsr 10", "rdmsr", " 10", None, id="rdmsr is no r dmsr"),
        pytest.param("s-sa 5 L4", "s", "-sa 5 L4", None, id="glued switch"),
        pytest.param("bp3 nt!x", "bp", "3 nt!x", None, id="glued id"),
        pytest.param("bp[1] x", "bp", "[1] x", None, id="glued expression"),
        pytest.param("k5", "k", "5", None, id="glued count"),
        pytest.param("kvnf 5", "kvnf", " 5", None, id="letters of k"),
        pytest.param("kd 5", "kd", " 5", None, id="kd is a command"),
        pytest.param("2k", "k", "", 2, id="processor"),
        pytest.param("13rrax", "r", "rax", 13, id="processor and register"),
        pytest.param("~1s", "~", "1s", None, id="tilde"),
        pytest.param("? 1", "?", " 1", None, id="question"),
        pytest.param("??1", "??", "1", None, id="two questions"),
        pytest.param("#call", "#", "call", None, id="hash"),
        pytest.param("pr 3", "pr", " 3", None, id="p with r"),
        pytest.param("!pool 5", "!pool", " 5", None, id="bang"),
        pytest.param("!kdexts.pool 5", "!pool", " 5", None, id="extension"),
        pytest.param("!ERROR 5", "!error", " 5", None, id="extension in upper case"),
        pytest.param("!kdexts.Thread 5", "!thread", " 5", None, id="extension in any case"),
        pytest.param(".sympath+ x", ".sympath+", " x", None, id="plus"),
        pytest.param(".ECHO x", ".echo", " x", None, id="dot in upper case"),
        pytest.param(".frame+1", ".frame", "+1", None, id="plus is no part of the name"),
        pytest.param("sx- av", "sx-", " av", None, id="sx minus"),
    ],
)
def test_find(text: str, name: str, rest: str, processor: int | None) -> None:
    match = REGISTRY.find(text)
    assert (match.name, match.rest, match.processor) == (name, rest, processor)


@pytest.mark.parametrize(
    ("text", "near"),
    [
        pytest.param("frob 5", (), id="nothing near"),
        pytest.param("rebooot", (".reboot",), id="without its dot"),
        pytest.param("vertargt", ("vertarget",), id="plain"),
        pytest.param("!poolusd 2", ("!poolused", "!pool"), id="bang"),
        pytest.param("2dd", (), id="no processor prefix"),
    ],
)
def test_unknown(text: str, near: tuple[str, ...]) -> None:
    with pytest.raises(UnknownCommand) as error:
        REGISTRY.find(text)
    assert error.value.near[: len(near)] == near


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        pytest.param(".childdbg 1", ".childdbg controls", "It is a command of user-mode", id="dot"),
        pytest.param("!wdfkd.wdfqueue 5", "!wdfkd.wdfqueue belongs", "kdsim loads no", id="module"),
        pytest.param("!wdfqueue 5", "!wdfkd.wdfqueue belongs", "kdsim loads no", id="short name"),
        pytest.param("!wdfkd.other", "!wdfkd.other belongs", "kdsim loads no", id="known module"),
        pytest.param("!cxr 5", "!cxr is an old name", "Use .cxr instead.", id="old name"),
        pytest.param("!kdexts.psp", "!psp shows", "It worked on Itanium", id="kd's own module"),
        pytest.param("|0s", "| lists the processes", "It is a command of user", id="sign"),
        pytest.param(".ATTACH 5", ".attach begins", "It is a command of user", id="upper case"),
    ],
)
def test_what_kd_has_and_kdsim_has_not_says_why(text: str, first: str, second: str) -> None:
    with pytest.raises(AbsentCommand) as error:
        REGISTRY.find(text)
    lines = str(error.value).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(first)
    assert lines[1].startswith(second)


def test_nothing_is_both_declared_and_absent() -> None:
    declared = {name: module for module, names in CATALOGUE.items() for name in names}
    left_over = [
        f"{absent.TABLE} still has {name}, which {declared[name]}.py declares: delete its line"
        for name in absent.table()
        if name in declared
    ]
    assert left_over == []


def test_every_absent_name_answers_and_is_in_the_help() -> None:
    for name, item in absent.table().items():
        for text in (name, f"{name} 5"):
            with pytest.raises(AbsentCommand) as error:
                REGISTRY.find(text)
            assert error.value.record == item
        assert help.page(name) == item


def test_old_names_lead_to_a_command() -> None:
    for item in absent.table().values():
        first = item.replaced_by.split()[0] if item.replaced_by else ""
        assert not first or REGISTRY.get(first) or absent.find(first), item


def test_docs_are_up_to_date() -> None:
    page = resource_path("targets").parent / docs.PAGE
    assert page.read_text(encoding="utf-8") == docs.text(), (
        "docs/commands.md is stale: run python -m kdsim.debugger.commands.docs"
    )


@pytest.mark.parametrize(
    ("name", "arguments", "wanted"),
    [
        pytest.param("!pool", " -?", True, id="every extension"),
        pytest.param("!pool", " /?", True, id="slash"),
        pytest.param("!verifier", " ?", True, id="question mark"),
        pytest.param("!pool", " 5 -?", False, id="behind an argument"),
        pytest.param("!pool", " -h", False, id="a letter nobody declared"),
        pytest.param("dt", " -h", True, id="a letter that is declared"),
        pytest.param("dt", " -?", True, id="plain command"),
        pytest.param(".echo", " -?", False, id="text to print"),
        pytest.param("?", " -?", False, id="expression"),
    ],
)
def test_who_answers_with_the_help_page(name: str, arguments: str, wanted: bool) -> None:
    found = REGISTRY.get(name)
    assert found is not None
    assert found.wants_help(arguments) is wanted


def test_switches_and_flag_bits_are_declared_as_such() -> None:
    """So completion and the help pages know them; none hides in a name or in prose."""
    for found in REGISTRY.commands():
        for param in found.params:
            assert param.name[0] not in "-/", f"{found.name} {param.name}: an Option"
            assert param.kind != "flags" or param.bits, f"{found.name} {param.name}: bits"
            assert param.kind != "word" or param.words, f"{found.name} {param.name}: words"
        prose = " ".join((found.summary, found.notes, *(p.summary for p in found.params)))
        for switch in re.findall(r"(?<![\w+])[-/][a-zA-Z]+\b", prose):
            assert switch in {o.switch for o in found.options}, f"{found.name}: {prose}"


def test_help_page_has_switches_and_choices() -> None:
    declared = Command(
        ("!x", "!y"), "Show.", "lists", lambda *_: None,
        params=(
            Param("flags", "flags", "what", optional=True, bits=((1, "one"), (0x10, "more"))),
            Param("pool", "word", optional=True, words=(("paged", "that may be paged out"),)),
        ),
        options=(Option("-t", "the type", "<type>"), Option("-m:", "the module", "<module>")),
        examples=("!x 11",),
        see_also=("dt",),
    )  # fmt: skip
    assert render(HelpPage.of(declared)) == [
        "!x [options] [flags] [pool]",
        "    Show.",
        "      -t <type>    the type",
        "      -m:<module>  the module",
        "      flags        what",
        "        1          one",
        "        10         more",
        "      pool",
        "        paged      that may be paged out",
        "    example: !x 11",
        "    also: !y",
        "    see also: dt",
    ]


def test_catalogue_says_what_the_files_declare() -> None:
    for module in CATALOGUE:
        importlib.import_module(f"kdsim.debugger.commands.{module}")
    declared: dict[str, set[str]] = {}
    for name, found in registry._declared.items():
        declared.setdefault(found.function.__module__.rpartition(".")[2], set()).add(name)
    assert declared == {module: set(names) for module, names in CATALOGUE.items()}


def test_every_command_is_described_and_refers_to_commands() -> None:
    for found in REGISTRY.commands():
        assert found.summary.endswith("."), found.name
        assert found.group in registry.GROUPS, found.name
        for other in found.see_also:
            assert REGISTRY.get(other) is not None, f"{found.name} refers to {other}"
        assert render(HelpPage.of(found))[0] == found.usage()


@pytest.mark.parametrize(
    ("name", "caps", "text"),
    [
        pytest.param("dd", Caps.READ, None, id="allowed"),
        pytest.param("g", Caps.READ, "No runnable debuggees error in 'g': it runs", id="run"),
        pytest.param(
            "k",
            Caps.READ,
            "Operation not supported by current debuggee error in 'k'",
            id="no reason",
        ),
    ],
)
def test_refusal(name: str, caps: Caps, text: str | None) -> None:
    found = REGISTRY.get(name)
    assert found is not None
    if text is None:
        refuse(found, name, caps, {})
        return
    with pytest.raises(Unsupported) as error:
        refuse(found, name, caps, {Caps.RUN: "it runs"})
    assert str(error.value) == text


@dataclass(frozen=True)
class Sample:
    name: str
    flags: Caps
    parts: tuple[int, ...]
    data: bytes = b"\x01\xff"

    def lines(self) -> list[str]:
        return [self.name]


def _records() -> dict[str, type]:
    """The records of all commands, by name; those that nobody returns are among them."""
    for _ in REGISTRY.commands():
        pass
    modules = [module for name, module in sys.modules.items() if name.startswith("kdsim.debugger.")]
    found = (item for module in modules for item in vars(module).values())
    return {i.__name__: i for i in found if isinstance(i, type) and hasattr(i, "lines")}


LISTS_OF_NAMES = {"Names", "PromptParts", "StepFilter"}
"""Records whose data are strings by nature."""


def test_what_a_command_returns_is_data() -> None:
    """Not only lines of text, so that `--json` is worth asking for."""
    known = _records()
    for found in REGISTRY.commands():
        returned = found.function.__annotations__["return"]
        for name in re.findall(r"\w+(?=\s*(?:\||$))", returned):
            if name in ("None", "Record", "Shown", *LISTS_OF_NAMES):
                continue
            record = known[name]
            fields = {f.name: f.type for f in dataclasses.fields(record)}
            texts = {"tuple[str, ...]", "list[str]"}
            assert set(fields.values()) - texts, f"{found.name}: {name} holds only lines"


def test_results_become_text_and_json() -> None:
    sample = Sample("x", Caps.READ, (1, 2))
    assert render(None) == []
    assert render(sample) == ["x"]
    assert to_json(sample) == {"name": "x", "flags": "READ", "parts": [1, 2], "data": "01ff"}


def test_the_language_has_pages_too() -> None:
    """Whatever the interpreter executes itself; no command has the same name."""
    names = [name for token in tokens.TOKENS for name in token.names]
    assert len(names) == len(set(names))
    assert [name for name in names if REGISTRY.get(name)] == []
    for text in (".if", ".foreach", "$$>a<", "as", "z"):
        page = help.page(text)
        assert isinstance(page, tokens.Token)
        assert any(text in usage for usage in page.usage)
