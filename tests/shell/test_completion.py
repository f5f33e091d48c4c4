"""The words that TAB offers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from kdsim.debugger.commands.engine import Engine
from kdsim.debugger.language import parse
from kdsim.debugger.shell.bottomline import BottomLine
from kdsim.debugger.shell.completion import LIMIT, KdCompleter
from kdsim.debugger.shell.nametable import NameTable
from kdsim.debugger.shell.words import MASM_OPERATORS
from kdsim.symbols.store import SymbolPath
from tests.shell.synthetic import driver_pdb, engine_over, kernel_pdb

PS_NAMES = (
    "PsActiveProcessHead",
    "PsInitialSystemProcess",
    "PsLookupProcessByProcessId",
    "PspTable",
)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return engine_over({"nt": kernel_pdb(tmp_path), "leaky": driver_pdb(tmp_path), "late": None})


def offered(engine: Engine, text: str) -> list[str]:
    found = KdCompleter(engine).get_completions(Document(text), CompleteEvent())
    return [completion.text for completion in found]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("!poolu", ["!poolused"], id="extension"),
        pytest.param("!POOLU", ["!poolused"], id="case-does-not-matter"),
        pytest.param(".if (1) { k } .el", [".else", ".elsif"], id="only-what-the-grammar-accepts"),
        pytest.param(".el", [], id="no-else-without-if"),
        pytest.param(
            "dd nt!Ps",
            [f"nt!{name}" for name in PS_NAMES],
            id="qualified-symbols",
        ),
        pytest.param("dd NT!psac", ["NT!PsActiveProcessHead"], id="qualified-in-other-case"),
        pytest.param("u leaky!", ["leaky!LeakyWorker"], id="all-of-a-module"),
        pytest.param("u lea", ["leaky!", "LeakyWorker"], id="module-and-bare-symbol"),
        pytest.param("x nt!*sys*", ["nt!PsInitialSystemProcess"], id="wildcard"),
        pytest.param("x nt!P?L", ["nt!PsLookupProcessByProcessId"], id="wildcard-of-one-letter"),
        pytest.param("? 2*nt!PspT", ["nt!PspTable"], id="a-star-that-multiplies"),
        pytest.param("? poolh", ["poolhittag"], id="bare"),
        pytest.param("u nt!??_C", ["nt!??_C@_05ABCDEF@nt@"], id="decorated-when-asked-for"),
        pytest.param("? po", ["poi", "poolhittag"], id="operator-first"),
        pytest.param("dd 1 xo", [], id="no-operator-where-an-argument-may-begin"),
        pytest.param("? 1 xo", ["xor"], id="operator-in-the-only-argument"),
        pytest.param("dd nt!PspT L", [], id="a-length"),
        pytest.param("dt nt!_EPROCESS @$proc", ["@$proc"], id="address-behind-a-type"),
        pytest.param("dt nt!_EPROCESS nt!PsI", ["nt!PsInitialSystemProcess"], id="and-a-symbol"),
        pytest.param("dt nt!_EPROCESS @$proc Pc", ["Pcb"], id="field-behind-an-address"),
        pytest.param("dt nt!_EPROCESS Pcb.Header Act*L", ["ActiveProcessLinks"], id="more-fields"),
        pytest.param('bp /w "@@c++(@$proc->Pc', ["Pcb"], id="condition-of-a-breakpoint"),
        pytest.param('bp /w "@$proc->Pc', ["Pcb"], id="condition-of-a-breakpoint-is-cpp"),
        pytest.param('bp /w "1" nt!Ps "?? @$proc->Pc', ["Pcb"], id="commands-behind-a-condition"),
        pytest.param(".dvalloc /r lea", [], id="unknown-command"),
        pytest.param(
            "?? #FIELD_OFFSET(nt!_EPROCESS, Act",
            ["ActiveProcessLinks", "ActiveThreads"],
            id="field-of-a-macro",
        ),
        pytest.param(
            "?? #CONTAINING_RECORD(1, nt!_EPROCESS, Pcb.H", ["Pcb.Header"], id="containing-field"
        ),
        pytest.param("sxe l", ["ld", "lsq"], id="event"),
        pytest.param('sxd -c "k" ld:le', ["ld:leaky"], id="module-of-an-event"),
        pytest.param(".foreach /p", ["/pS", "/ps"], id="switch-of-foreach"),
        pytest.param("~*", [], id="no-command-behind-an-asterisk"),
        pytest.param(".if (1 xo", ["xor"], id="binary-operator"),
        pytest.param("? $sc", ["$scmp(", "$scopeip"], id="function"),
        pytest.param("? @@m", ["@@masm("], id="other-language"),
        pytest.param("?? #F", ["#FIELD_OFFSET("], id="macro"),
        pytest.param("dt nt!_E", ["nt!_EPROCESS"], id="type"),
        pytest.param("dt _L", ["_LEAKY_DEVICE", "_LIST_ENTRY"], id="types-of-all-modules"),
        pytest.param("dt nt!_?PROC", ["nt!_EPROCESS", "nt!_KPROCESS"], id="types-by-wildcard"),
        pytest.param("dt nt!_EPROCESS Act", ["ActiveProcessLinks", "ActiveThreads"], id="fields"),
        pytest.param("dt nt!_eprocess act*l", ["ActiveProcessLinks"], id="fields-by-wildcard"),
        pytest.param("dt nt!_EPROCESS Pcb.He", ["Pcb.Header"], id="field-of-a-field"),
        pytest.param("dt nt!PsActiveProcessHead F", ["Flink"], id="fields-of-a-variable"),
        pytest.param("?? @$proc->Act", ["ActiveProcessLinks", "ActiveThreads"], id="pseudo"),
        pytest.param("?? @$proc->Pcb.Header.T", ["Type"], id="member-of-members"),
        pytest.param("?? @$proc->Parent->Parent->Pc", ["Pcb"], id="pointer-chain"),
        pytest.param("? @@(((nt!_KPROCESS*)x)->", ["Header", "Affinity"], id="cast"),
        pytest.param("?? ((EPROCESS*)0)->Pc", ["Pcb"], id="cast-to-a-windows-name"),
        pytest.param("?? nt!PsInitialSystemProcess->Pc", ["Pcb"], id="variable"),
        pytest.param("?? nt!PspTable[1]->Pc", ["Pcb"], id="array"),
        pytest.param("?? (*nt!PsInitialSystemProcess).Pc", ["Pcb"], id="dereferenced"),
        pytest.param("?? (&nt!PsActiveProcessHead)->F", ["Flink"], id="address-of"),
        pytest.param(
            "?? #CONTAINING_RECORD(1, nt!_EPROCESS, Pcb)->Pc", ["Pcb"], id="containing-record"
        ),
        pytest.param("?? ((nt!_LIST_ENTRY*)x)->F", ["Flink"], id="member-of-a-cast"),
        pytest.param("?? nosuch->", [], id="unknown-variable"),
        pytest.param('bp nt!x "?? @$proc->Pc', ["Pcb"], id="inside-a-breakpoint"),
        pytest.param("r ra", ["rax"], id="register"),
        pytest.param("? @rax", ["@rax"], id="register-in-an-expression"),
        pytest.param("? @$pro", ["@$proc"], id="pseudo-register"),
        pytest.param("r $t1", ["$t1", *(f"$t{n}" for n in range(10, 20))], id="counted-registers"),
        pytest.param("lm m le", ["leaky"], id="module"),
        pytest.param(".reload -f l", ["leaky", "late"], id="module-behind-an-option"),
        pytest.param("!pcr ", ["0", "1"], id="processors"),
        pytest.param("dd late!", [], id="deferred-module-without-symbols"),
    ],
)
def test_words(engine: Engine, text: str, words: list[str]) -> None:
    engine.session.processors = 2
    assert sorted(offered(engine, text)) == sorted(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(".fo", {".formats", ".for", ".foreach"}, id="dot-command-and-control"),
        pytest.param(".reload /", {"/f", "/i"}, id="options"),
        pytest.param(".reload -", {"-f", "-i"}, id="options-with-a-dash"),
        pytest.param("!process 0 ", {"1", "2", "4"}, id="flags"),
        pytest.param("bp /", {"/1", "/p", "/w"}, id="options-of-a-breakpoint"),
        pytest.param("dt -", {"-r", "-v", "-h"}, id="an-option-with-a-number"),
        pytest.param("!for_each_function -", {"-m:", "-p:", "-c:"}, id="options-with-a-colon"),
        pytest.param(".symopt ", {"1", "10", "80000000"}, id="flags-from-a-table"),
        pytest.param("ba ", {"e", "r", "w"}, id="letters"),
        pytest.param("!sysinfo cpu", {"cpuinfo", "cpuspeed"}, id="words"),
        pytest.param(".typeopt +", {"+uni", "+size"}, id="signed-words"),
        pytest.param("!irpfind 0 0 d", {"device"}, id="words-behind-numbers"),
        pytest.param(".hh !poolu", {"!poolused"}, id="help"),
    ],
)
def test_declared_words(engine: Engine, text: str, words: set[str]) -> None:
    """What declarations say; others may come to them."""
    assert words <= set(offered(engine, text))


def test_every_command_has_its_summary(engine: Engine) -> None:
    found = list(KdCompleter(engine).get_completions(Document(""), CompleteEvent()))
    assert all(completion.display_meta_text for completion in found)
    assert found[0].text[0] not in ".!"


def test_what_the_session_has(engine: Engine) -> None:
    from kdsim.debugger.breakpoints import Breakpoint

    engine.session.breakpoints.add(Breakpoint(0, "bu", "nt!x", None))
    engine.aliases.user["shout"] = ".echo"
    assert offered(engine, "bc ") == ["0", "*"]
    assert offered(engine, "? @$bp") == ["@$bp0"]
    assert offered(engine, "ad s") == ["shout"]
    assert offered(engine, "sh") == ["shout"]
    assert offered(engine, ".echo ${s") == ["shout"]
    assert offered(engine, ".block { ? ${/d:sh") == ["shout"]
    assert "/d:" in offered(engine, "${/")


def test_a_typed_register_has_its_members(engine: Engine) -> None:
    engine.session.execute("r? $t1 = (nt!_EPROCESS*)4")
    assert offered(engine, "?? @$t1->Pc") == ["Pcb"]


def test_files(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "사냥.kd").touch()
    (tmp_path / ".hidden").touch()
    (tmp_path / "scripts").mkdir()
    assert offered(engine, "$$><사") == ["사냥.kd"]
    assert offered(engine, "$$><s") == ["scripts/"]
    assert offered(engine, f".sympath srv*{tmp_path}/scr") == [f"srv*{tmp_path}/scripts/"]
    assert ".hidden" not in offered(engine, ".logopen ")
    assert offered(engine, ".logopen /nosuch/") == []


def test_no_more_than_anybody_reads(tmp_path: Path) -> None:
    engine = engine_over({"nt": kernel_pdb(tmp_path, (f"Func{n}" for n in range(2 * LIMIT)))})
    assert len(offered(engine, "u nt!Func")) == LIMIT


def test_the_target_is_left_alone(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names and types are known; a key press costs no request."""

    def asked(*arguments: object) -> bytes:
        raise AssertionError("the target was asked")

    for request in ("read_virtual", "read_physical", "read_context", "read_control_space"):
        monkeypatch.setattr(engine.session.backend, request, asked)
    for text in ("dd nt!Ps", "dt _E", "?? @$proc->", "? @$", "lm m l", "", "bp le"):
        assert offered(engine, text)


def test_servers_are_left_alone(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Symbols that are not on this machine are not fetched for completion."""
    path = SymbolPath.parse("srv*/nowhere*http://symbols.invalid")
    engine.session.symbols.path = path
    monkeypatch.setattr(path, "_download", None)
    assert offered(engine, "u late!") == []
    assert engine.session.symbols.module_named("late").status == "deferred"


def test_operators_are_terminals_of_the_grammar() -> None:
    for terminal, rows in MASM_OPERATORS.items():
        for text, _ in rows:
            reading = parse.read(f"1 {text} 1", "masm")
            binary = terminal in {token.type for token in reading.tokens}
            prefix = parse.read(f"{text} 1", "masm").tokens
            assert binary or prefix[0].type == terminal


def test_name_table_keeps_names_that_differ_in_case() -> None:
    table = NameTable(["Foo", "foo", "FOObar", "Bar"])
    assert sorted(table.find("FO")) == ["FOObar", "Foo", "foo"]
    assert sorted(table.find("f?o")) == ["FOObar", "Foo", "foo"]
    assert list(table.find("[ab]a")) == ["Bar"]
    assert sorted(table.find("*o#b")) == ["Bar", "FOObar"]
    assert list(table.find("*oba")) == ["FOObar"]
    assert len(list(table.find("*"))) == len(table)
    assert list(table.find("x")) == []


PIECES = st.sampled_from(
    [
        *("dd ", "?? ", "dt ", "bp ", "x ", "r ", ".if ", ".for ", ".foreach ", "j ", "z", "as "),
        *("nt!", "_EPROCESS", "PsTable", "@$proc", "@rax", "->", ".", "Pcb", "*", "?", "L10", "="),
        *("(", ")", "{", "}", "[", "]", '"', "'", ";", "\n", " ", ",", "@@(", "@@c++(", "#", "$"),
        *(
            "0x",
            "1e9",
            "한",
            "\\",
            "`",
            "\0",
            "!process ",
            ".reload /",
            "~",
            "!",
            "ad ",
            "$$><",
            "-f",
        ),
    ]
)


@given(st.lists(PIECES, max_size=14).map("".join))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_is_typed(engine: Engine, text: str) -> None:
    """No input makes TAB or the bottom line fail."""
    completer, bottom = KdCompleter(engine), BottomLine(engine.session)
    for completion in completer.get_completions(Document(text), CompleteEvent()):
        assert -len(text) <= completion.start_position <= 0
    assert bottom(text, 80, 24)


@pytest.mark.parametrize("piece", [".block {", "@@(", "(", "[", "? (", 'bp x "', "a->"])
def test_deep_nesting(engine: Engine, piece: str) -> None:
    for times in (100, 3000):
        offered(engine, f"? {piece * times}")
        offered(engine, piece * times)
