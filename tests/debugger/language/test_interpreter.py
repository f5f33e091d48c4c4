"""Control flow, aliases and scripts, seen by what they print and run."""

from __future__ import annotations

import pytest

from kdsim.debugger.language import parse
from kdsim.debugger.language.aliases import Aliases
from kdsim.debugger.language.interpreter import MAX_LENGTH
from kdsim.errors import CommandSyntaxError, TargetGone, UnknownCommand, UserError

from tests.debugger.language.language_fakes import ANSI_AT, TEXT_AT, UNICODE_AT, WIDE_AT  # isort: skip

OUTPUTS = [
    # order, conditions
    (".echo a; .echo b", "a b"), (".if (1) { .echo y } .else { .echo n }", "y"),
    (".if (0) { .echo y } .else { .echo n }", "n"), (".if (0) { .echo y }", ""),
    (".if (0) {} .elsif (2) { .echo b } .else { .echo c }", "b"),
    (".if @$t0 = 0 { .echo zero }", "zero"), (".if (1) { .if (0) {} .else { .echo in } }", "in"),
    # loops
    (".for (r $t0=0; @$t0 < 3; r $t0=@$t0+1) { .printf \"%d \", @$t0 }", "0 1 2"),
    (".for (r $t0=0; @$t0 < 3; r $t0=@$t0+1; r $t1=@$t1+2) {}; ? @$t1",
     "Evaluate expression: 6 = 00000000`00000006"),
    (".for (r $t0=0; ; r $t0=@$t0+1) { .if (@$t0=5) { .break } }; .printf \"%d\", @$t0", "5"),
    (".while (@$t0 < 3) { r $t0=@$t0+1; .echo x }", "x x x"), (".while (0) { .echo x }", ""),
    (".do { .echo x; r $t0=@$t0+1 } (@$t0 < 2)", "x x"), (".do { .echo x } (0)", "x"),
    (".for (r $t0=0; @$t0<4; r $t0=@$t0+1) { .if (@$t0=1) { .continue }; .printf \"%d \", @$t0 }",
     "0 2 3"),
    (".while (1) { .while (1) { .break }; .echo out; .break }", "out"),
    (".while (1) { .block { .break } }; .echo end", "end"),
    # foreach
    ('.foreach /s (x "a b c") { .echo x }', "a b c"),
    ('.foreach /s (x "a b c") { .echo pre${x}post }', "preapost prebpost precpost"),
    ('.foreach /s (x "a") { .echo place-x; .echo place -x ; .echo place x }',
     "place-x place -x place a"),
    ('.foreach /pS 1 /ps 1 /s (x "a b c d e") { .echo x }', "b d"),
    ('.foreach /pS 2 /ps 4 /s (x "1 2 3 4 5 6 7 8 9 10 11 12 13") { .echo x }', "3 8 13"),
    (".foreach (x { .echo one two }) { .echo <x> ; .echo x }", "<x> one <x> two"),
    ('.foreach /s (x "1 2") { .foreach /s (y "a b") { .echo ${x}${y} } }', "1a 1b 2a 2b"),
    ('.foreach /s (x "a b c") { .if ($scmp("${x}","b")=0) { .break }; .echo x }', "a"),
    ('.foreach /s (x "a") {}; .echo ${x}', "${x}"),
    # catch and leave
    (".catch { .echo a; fail; .echo b } .echo c", "a c"),
    (".catch { .echo a; .leave; .echo b } .echo c", "a c"),
    (".catch { .while (1) { .leave } .echo b } .echo c", "c"),
    (".catch { ? nosuch }; .echo on", "on"), (".leave; .echo no", ""),
    # j and z
    ("j (1) '.echo a; .echo b' ; '.echo c'", "a b"), ("j (0) '.echo a' ; '.echo c' ; .echo d", "c"),
    ("j 1 .echo a ; .echo b", "a"), ("j (0) .echo a", ""), ("j (1) '' ; '.echo b'", ""),
    ("r $t0=@$t0+1; .echo x; z(@$t0 < 3); .echo end", "x x x end"), (".echo x; z(0)", "x"),
    # comments
    (".echo a; $$ .echo b; .echo c", "a c"), (".echo a; * .echo b; .echo c", "a"),
    # the language's own commands
    ("? 1a", "Evaluate expression: 26 = 00000000`0000001a"),
    ("? -1", "Evaluate expression: -1 = ffffffff`ffffffff"), ('.echo "a;b"', "a;b"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "output"), OUTPUTS)
def test_output(interpreter, host, line, output):
    interpreter.run(line)
    assert host.output.split() == output.split()


ALIASES = [
    (["aS x hello", ".echo x ; .echo ${x}!; .echo 'x'; .echo xy"], "hello hello! 'hello' xy"),
    (['aS x "a b"', ".echo x"], "a b"), (["aS X big", ".echo x X"], "x big"),
    (["as /x n 5 + 1", ".echo n"], "0x6"),
    (["as /x n -1; .echo later", ".echo n"], "later 0xffffffffffffffff"),
    ([f"as /ma s {TEXT_AT:x}", ".echo s"], "hello world"),
    ([f"as /mu s {WIDE_AT:x}", ".echo s"], "wide"),
    ([f"as /msa s {ANSI_AT:x}", ".echo s"], "hello"),
    ([f"as /msu s {UNICODE_AT:x}", ".echo s"], "wide"),
    (["aS x 1", "ad x", ".echo x"], "x"), (["aS x 1", "aS y 2", "ad *", ".echo x y"], "x y"),
    (["ad /q x", ".echo ok"], "ok"),
    (["aS b 2", "aS a 1", "al"], "Alias Value ------- ------- a 1 b 2"), (["al"], "No aliases"),
    # when replacement happens
    (["aS x 5; .echo x"], "x"), (["aS x 5; .block { .echo x }"], "5"),
    (["aS x 1", "aS x 2; .echo x"], "x"), (["aS x 1", " aS x 2; .echo x"], "1"),
    (["aS x 1", ";aS ${/v:x} 2; .block { .echo x }"], "1"),
    ([".for (r $t0=0; @$t0<3; r $t0=@$t0+1) { aS /x ${/v:i} @$t0; "
      ".block { .echo ${i} } ; ad ${/v:i} }"],
     "0x0 0x1 0x2"),
    # forms
    ([".echo ${x} ${/d:x} <${/f:x}> ${/n:x} ${/v:x}"], "${x} 0 <> ${/n:x} ${/v:x}"),
    (["aS x val", ".echo ${x} ${/d:x} <${/f:x}> ${/n:x} ${/v:x}"], "val 1 <val> x ${/v:x}"),
    ([".echo ${$ntnsym}!Foo"], "nt!Foo"), (["aS if .echo", "if yes"], "yes"),
    (["aS cmd .echo a", "cmd;cmd"], "a a"),
    # the manual's own examples
    (["aS /x myAlias 5 + 1; .block{.echo myAlias}"], "0x6"),
    (["aS /x myAlias 5 + 1; .echo myAlias"], "myAlias"),
    (["r $.u2=2", "r $.u1=1+$u2", "r $.u2=6", '.printf "%d", $u1'], "3"),
    (["as fred 2", "r $.u1= 1 + fred", "as fred 6", '.printf "%d", $u1'], "3"),
    (["r $.u0=2", "r $.u0=7+$u0", '.printf "%d", $u0'], "9"),
    ([".foreach /pS 2 /ps 2 (Token {? 5}) {as myAlias Token}", ".echo ${myAlias}"], "Token"),
    ([".foreach /pS 2 /ps 2 (Token {? 5}) {;as myAlias Token}", ".echo ${myAlias}"], "5"),
    (['.foreach /s (value "1 2 3") {;as /x ${/v:myAlias} value + 1; .echo value myAlias}'],
     "1 myAlias 2 0x2 3 0x3"),
    (['.foreach /s (value "1 2") {;as /x ${/v:myAlias} value + 1; .block{.echo value myAlias}}'],
     "1 0x2 2 0x3"),
    # the other alias commands
    (["aS x 1", "AD x", "AL"], "No aliases"), (["aS t a b  ;.echo c", ".echo <${t}>"], "c <a b >"),
    ([".echo $ntsym '$ntsym' x$ntsym"], "nt 'nt' x$ntsym"), (["ad *", ".echo $ntnsym"], "nt"),
    ([".foreach /s (x \"1 2\") { aS ${/v:y} x ; }", ".echo y"], "2"),
    # fixed names
    (["r $.u3=.echo", "$u3 hi"], "hi"), ([".echo <$u5>"], "<>"),
    (["r $.u1=he", ".echo $u1llo"], "hello"),
    (["r $.u1=x", "aS x deep", ".echo $u1"], "deep"),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "output"), ALIASES)
def test_aliases(interpreter, host, lines, output):
    for line in lines:
        interpreter.run(line)
    assert host.output.split() == output.split()


def test_as_takes_the_whole_line(interpreter, host):
    interpreter.run('as x .echo "a" ;.echo b ')
    interpreter.run("x")
    assert interpreter.aliases.user["x"] == '.echo "a" ;.echo b '
    assert host.output == "a\nb\n"


def test_as_keeps_the_output_of_commands(interpreter):
    interpreter.run("as /c out .echo one; .echo two")
    assert interpreter.aliases.user == {"out": "one\ntwo\n"}
    interpreter.run("ad *")
    interpreter.run("aS /c out .echo one; .echo two")
    assert interpreter.aliases.user == {"out": "one\n"}
    interpreter.run("aS /c both .block { .echo one; .echo two }")
    assert interpreter.aliases.user["both"] == "one\ntwo\n"


def test_fixed_name_takes_the_whole_line(interpreter, host):
    interpreter.run("r $.u0 = .echo a; .echo b ")
    interpreter.run("$u0")
    assert host.output == "a\nb\n"


def test_environment_alias(interpreter, host, monkeypatch):
    monkeypatch.setenv("KDSIM_TEST", "from outside")
    interpreter.run("as /e v KDSIM_TEST")
    interpreter.run(".echo v")
    assert host.output == "from outside\n"


def test_file_alias(interpreter, host, tmp_path):
    path = tmp_path / "text"
    path.write_text("words")
    interpreter.run(f"aS /f f {path}")
    interpreter.run(".echo f")
    assert host.output == "words\n"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("ad nosuch", UserError), ("as x", CommandSyntaxError), ("as", CommandSyntaxError),
        ("aS asx 1", CommandSyntaxError), ("as /x n 1 2", CommandSyntaxError),
        ("aS /f x /nonexistent/file", UserError), ("as /e x KDSIM_NO_SUCH", UserError),
        ("al x", CommandSyntaxError), ("as /ma s 0", None),
    ],
)  # fmt: skip
def test_alias_errors(interpreter, line, kind):
    from kdsim.errors import KdsimError

    with pytest.raises(kind or KdsimError):
        interpreter.run(line)


def test_foreach_restores_an_alias_of_its_name(interpreter, host):
    interpreter.run("aS x outer")
    interpreter.run(';.foreach /s (v "1 2") {}')
    with interpreter.aliases.scoped("x") as give:
        give("inner")
        assert interpreter.aliases.expand("x") == "inner"
    assert interpreter.aliases.expand("x") == "outer"


def test_alias_list_layout():
    aliases = Aliases()
    aliases.user = {"b": "two words", "a": "1"}
    shown = aliases.command("al", None, str)
    assert shown is not None
    assert shown.lines() == [
        "  Alias            Value",
        " -------          -------",
        " a                1",
        " b                two words",
    ]


# ---- errors -----------------------------------------------------------------------------------


def test_an_error_ends_the_line(interpreter, host):
    with pytest.raises(UnknownCommand):
        interpreter.run(".echo a; fail; .echo b")
    assert host.output == "a\n"


def test_an_error_in_a_loop_ends_everything(interpreter, host):
    with pytest.raises(UnknownCommand):
        interpreter.run(".while (1) { .echo a; fail }; .echo b")
    assert host.output == "a\n"


def test_catch_reports(interpreter, host):
    interpreter.run(".catch { ? nosuch }")
    assert host.errors == ["Couldn't resolve error at 'nosuch'"]


def test_catch_lets_a_lost_target_pass(interpreter, host, monkeypatch):
    def gone(text):
        raise TargetGone("gone")

    monkeypatch.setattr(host, "dispatch", gone)
    with pytest.raises(TargetGone):
        interpreter.run(".catch { k }")


CARETS = [
    pytest.param(".echo a; ? (1", 13, "Syntax error", id="behind other commands"),
    pytest.param(".if (1 {}", 6, "Syntax error", id="a condition"),
    pytest.param(".if (1) { ? (1 }", 14, "Syntax error", id="a block"),
    pytest.param(".if (1) { .if (2 { k } }", 16, "Syntax error", id="a condition in a block"),
    pytest.param(".block { .echo a; .foo } { k }", 25, "Syntax error", id="the line itself"),
    pytest.param(".block { .if (1) k }", 18, "Syntax error", id="the structure of a block"),
    pytest.param(".for (r $t0=0;1;) { .block { ? (1 } }", 33, "Syntax error", id="two blocks deep"),
    pytest.param(".for (? (1;1;) {}", 15, "Syntax error", id="the start of a loop"),
    pytest.param(".for (;1;? (1 ) {}", 16, "Syntax error", id="the increment of a loop"),
    pytest.param("j (1 'k'", 5, "Syntax error", id="the condition of a j"),
    pytest.param("j 1 '? (1' ; 'k'", 9, "Syntax error", id="the first command of a j"),
    pytest.param("j 0 'k' ; '? (1' ", 15, "Syntax error", id="the second command of a j"),
    pytest.param(".echo a; z(1", 12, "Syntax error", id="the condition of a z"),
    pytest.param("aS /x n 1)", 9, "Extra character error", id="an alias command"),
    pytest.param('.foreach /s (x "a") { ? (1 }', 26, "Syntax error", id="the body of a .foreach"),
    pytest.param(".foreach (x { ? (1 }) { k }", 18, "Syntax error", id="what a .foreach runs"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "column", "message"), CARETS)
def test_the_caret_points_into_the_line(interpreter, line, column, message):
    with pytest.raises(CommandSyntaxError) as caught:
        interpreter.run(line)
    assert str(caught.value) == f"{' ' * column}^ {message} in '{line}'"


def test_the_caret_of_an_error_that_is_caught(interpreter, host):
    interpreter.run(".block { .catch { ? (1 } }")
    assert host.errors == [f"{' ' * 22}^ Syntax error in '.block {{ .catch {{ ? (1 }} }}'"]


def test_the_caret_points_into_what_an_alias_stands_for(interpreter):
    interpreter.run("aS x (1")
    with pytest.raises(CommandSyntaxError) as caught:
        interpreter.run(".block { ? x }")
    assert str(caught.value) == "    ^ Syntax error in '? (1'"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("? 1 +; .echo b", "from '; .echo b'", id="the rest of the line"),
        pytest.param(".block { ? 1 + } k", "from '<EOL>'", id="nothing of what is behind a block"),
        pytest.param(".block { ? 1 +; k } r", "from '; k'", id="the rest of the block"),
        pytest.param(".if (nosuch) { k }", "at 'nosuch) { k }'", id="the rest of a condition"),
        pytest.param(".catch { ? nosuch; k } r", "at 'nosuch; k'", id="the same for a value"),
    ],
)
def test_what_a_message_quotes(interpreter, host, line, message):
    try:
        interpreter.run(line)
    except CommandSyntaxError as error:
        host.report(error)
    assert host.errors[0].endswith(message)


def test_the_longest_line(interpreter, host):
    line = ".echo " + "x" * (MAX_LENGTH - 6)
    interpreter.run(line)
    assert host.output == line[6:] + "\n"
    with pytest.raises(UserError, match="4097 characters"):
        interpreter.run(line + "x")


@pytest.mark.parametrize(
    "line",
    [".for (;;) {}", ".while (1) {}", ".do {} (1)", "z(1)", '.foreach /s (x "a b") {}',
     ".catch { .while (1) {} }"],
)  # fmt: skip
def test_ctrl_c_ends_a_loop(interpreter, host, line):
    host.interrupted = True
    with pytest.raises(KeyboardInterrupt):
        interpreter.run(line)
    assert interpreter._depth == 0


@pytest.mark.parametrize("inside", [".if (1)", ".block", ".catch", ".if (0) {} .else"])
@pytest.mark.parametrize(("word", "left"), [(".break", "0 "), (".continue", "0 2 ")])
def test_leaving_a_loop_from_deep_inside(interpreter, host, inside, word, left):
    body = f"{inside} {{ .block {{ .if (@$t0 = 1) {{ {inside} {{ {word} }} }} }} }}"
    interpreter.run(
        f'.for (r $t0=0; @$t0 < 3; r $t0=@$t0+1) {{ {body} .printf "%d ", @$t0 }}; .echo end'
    )
    assert host.output == f"{left}end\n"


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(".if (1 < 2 && 2 < 3) { .echo yes }", id=".if"),
        pytest.param(".if (0 || sizeof(int) == 4) { .echo yes }", id="sizeof"),
        pytest.param(".while (@$t0 < 1) { r $t0 = @$t0 + 1; .echo yes }", id=".while"),
        pytest.param("j (1 && 1) '.echo yes'", id="j"),
        pytest.param(".if (@@masm(poi(nt!Node) == nt!Node)) { .echo yes }", id="back to MASM"),
    ],
)
def test_conditions_are_of_the_default_language(interpreter, host, line):
    host.context.evaluator = "c++"
    interpreter.run(line)
    assert host.output == "yes\n"


def test_z_looks_at_another_processor(interpreter, host):
    interpreter.run(".echo a; 1z(0); .echo b")
    assert host.ran == [".echo a", "processor 1", ".echo b"]


class CountingParser:
    """Counts what the grammar is asked for."""

    def __init__(self, monkeypatch):
        self.texts = []
        parsed = parse.parsed_line
        monkeypatch.setattr(
            parse, "parsed_line", lambda text: self.texts.append(text) or parsed(text)
        )
        parse.line.cache_clear()


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(".for (r $t0=0; @$t0<0n50; r $t0=@$t0+1) { .echo {a}; }", id=".for"),
        pytest.param(".while (@$t0<0n50) { r $t0=@$t0+1; .if (1) { .echo {a}; } }", id=".while"),
        pytest.param("aS x {a};.while (@$t0<0n50) { r $t0=@$t0+1; .echo ${x}; }", id="an alias"),
    ],
)
def test_a_body_is_parsed_once(interpreter, monkeypatch, line):
    counting = CountingParser(monkeypatch)
    interpreter.run(line)
    assert len(counting.texts) == len(set(counting.texts)) <= 4


def test_an_interrupt_ends_the_line(interpreter, host, monkeypatch):
    def interrupted(text):
        raise KeyboardInterrupt

    monkeypatch.setattr(host, "dispatch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        interpreter.run(".catch { .while (1) { k } }")
    assert interpreter._depth == 0


# ---- scripts ----------------------------------------------------------------------------------


@pytest.fixture
def script(tmp_path):
    def write(text, name="script.txt"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_line_script_echoes_and_goes_on_after_an_error(interpreter, host, script):
    path = script(".echo a\nfail\n.echo b\n")
    interpreter.run(f"$<{path}")
    assert host.output == "kd> .echo a\na\nkd> fail\nkd> .echo b\nb\n"
    assert host.errors == ["Unknown command 'fail'"]


def test_the_caret_points_into_the_line_of_a_script(interpreter, host, script):
    interpreter.run(f".block {{ $$<{script('.echo a; .if (1) {{ ? (1 }}'.format())} }}")
    assert host.errors == [f"{' ' * 23}^ Syntax error in '.echo a; .if (1) {{ ? (1 }}'"]


def test_line_script_with_more_commands(interpreter, host, script):
    interpreter.run(f"$$<{script('.echo a')}; .echo b")
    assert host.output == "kd> .echo a\na\nb\n"


def test_block_script_is_one_block(interpreter, host, script):
    path = script(".if (1)\n{\n  .echo a\n}\n.else\n{\n  .echo b\n}\n.echo c\n")
    interpreter.run(f"$$><{path}; .echo d")
    assert host.output.splitlines()[1:] == ["a", "c", "d"]
    assert host.output.splitlines()[0].startswith("kd> .if (1);{;")


def test_head_of_a_loop_on_three_lines(interpreter, host, script):
    path = script(
        "$$ a comment;\n.for (r $t0=0;\n     @$t0<3;\n\n     r $t0=@$t0+1)\n{\n"
        '  .printf "%d ", @$t0;\n}\n'
    )
    interpreter.run(f"$$>a<{path}")
    assert host.output.endswith("0 1 2 ")


def test_block_script_ends_at_an_error(interpreter, host, script):
    path = script(".echo a\nfail\n.echo b")
    with pytest.raises(UnknownCommand):
        interpreter.run(f"$><{path}")
    assert host.ran == [".echo a", "fail"]


def test_star_comment_kills_the_rest_of_a_block_script(interpreter, host, script):
    path = script(".echo a\n* comment\n.echo b")
    interpreter.run(f"$$>a<{path}")
    assert host.output == "a\n"


def test_arguments(interpreter, host, script):
    path = script(".echo ${$arg1}-${$arg2}; .echo ${$arg3} ${/d:$arg3} ${/d:$arg1}")
    interpreter.run(f'$$>a<{path} one "two words" ; .echo end')
    assert host.output == "one-two words\n${$arg3} 0 1\nend\n"


def test_script_file_with_spaces(interpreter, host, script):
    path = script(".echo ${$arg1}", "a b.txt")
    interpreter.run(f'$$>a<"{path}" x')
    interpreter.run(f"$$><{path}")
    assert host.output.splitlines()[0] == "x"


def test_semicolon_in_a_file_name(interpreter, host, script):
    interpreter.run(f"$<{script('.echo odd', 'a;b')}")
    assert host.output.endswith("odd\n")


def test_scripts_call_scripts(interpreter, host, script):
    inner = script(".echo in ${$arg1}", "inner")
    outer = script(f".echo out; $$>a<{inner} ${{$arg1}}", "outer")
    interpreter.run(f"$$>a<{outer} x")
    assert host.output == "out\nin x\n"


def test_endless_recursion_is_refused(interpreter, script, tmp_path):
    path = script(f"$$>a<{tmp_path}/script.txt")
    with pytest.raises(UserError, match="nested more than"):
        interpreter.run(f"$$>a<{path}")


@pytest.mark.parametrize("form", ["$<", "$><", "$$<", "$$><", "$$>a<"])
def test_a_script_needs_a_name(interpreter, form):
    with pytest.raises(CommandSyntaxError, match="Syntax error"):
        interpreter.run(form)


@pytest.mark.parametrize(("form", "shown"), [("$$><", True), ("$><", True), ("$$>a<", False)])
def test_which_forms_echo(interpreter, host, script, form, shown):
    interpreter.run(f"{form}{script('.echo a')}")
    assert host.output == ("kd> .echo a\n" if shown else "") + "a\n"


def test_recursion_with_arguments_ends_where_the_script_says(interpreter, host, script, tmp_path):
    path = script(
        ".if (${$arg1})\n{\n  .echo turn ${$arg1}\n"
        f'  $$>a<{tmp_path}/script.txt "${{$arg1}} - 1"\n}}\n'
    )
    interpreter.run(f"$$>a<{path} 2")
    assert host.output == "turn 2\nturn 2 - 1\n"


def test_an_alias_that_doubles_at_every_turn_is_stopped(interpreter):
    interpreter.run("aS x ${/v:y} 1")
    with pytest.raises(UserError, match="characters of this text"):
        interpreter.run(".while (1) { ;as y y y }")


def test_missing_script(interpreter):
    with pytest.raises(UserError, match="No such file"):
        interpreter.run("$$>a</nonexistent/x")
