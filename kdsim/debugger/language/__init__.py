"""The command language: text -> syntax tree -> value.

- `grammar/kd.lark` (lines), `masm.lark` and `cpp.lark` (expressions) say what may be written;
  `parse` turns text into the frozen trees of `syntax` and knows where an expression ends.
- `Evaluator(context).masm("poi(nt!x)+8")` is a number; `.cpp("sizeof(_EPROCESS)")` is `Typed`.
  What names, registers and memory hold comes from a `context.Context`.
- `arguments.Arguments` is the cursor with which a command pulls its arguments from its text.
- `interpreter.Interpreter(host).run(line)` runs lines, blocks and scripts.
- `commands` holds the language's own commands (`?`, `.printf`, `n` ...) as functions that return
  records.
"""
