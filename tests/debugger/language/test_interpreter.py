"""Control flow, aliases and scripts, seen by what they print and run."""

from __future__ import annotations

import pytest

from kdsim.debugger.language.aliases import Aliases
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


def test_the_caret_fits_the_line(interpreter):
    with pytest.raises(CommandSyntaxError) as caught:
        interpreter.run(".echo a; ? (1")
    assert str(caught.value) == "             ^ Syntax error in '.echo a; ? (1'"


def test_the_caret_of_a_condition(interpreter):
    with pytest.raises(CommandSyntaxError) as caught:
        interpreter.run(".if (1 {}")
    assert str(caught.value) == "      ^ Syntax error in '.if (1 {}'"


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


def test_missing_script(interpreter):
    with pytest.raises(UserError, match="No such file"):
        interpreter.run("$$>a</nonexistent/x")
