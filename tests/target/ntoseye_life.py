"""A program: ntoseye's SDK attaches, works, detaches and comes back. Arguments: how to attach."""

import sys

import ntoseye

COMMANDS = (
    *("lm", "ps", "threads", "r", "k", "u", "x nt!Ps*", "dt nt!_LIST_ENTRY nt!PsLoadedModuleList"),
    *("!process 0 0", "!process 4 7", "!thread", "!pool nt!PsInitialSystemProcess"),
    *("!pool poi(nt!PsInitialSystemProcess)", "!poolused", "!poolfind Proc"),
    *("!poolval poi(nt!PsInitialSystemProcess)", "!pcr", "!prcb", "!idt", "!irql", "!running"),
    *("!pte nt!PsLoadedModuleList", "!vtop 0 nt!PsLoadedModuleList"),
    *("!drvobj tidy", "!devobj \\Device\\Pulse0", "!object \\Driver", "!verifier", ".bugcheck"),
    *("!analyze", "vertarget", "ba w8 nt!PsLoadedModuleList", "bl", "bc *"),
)
ROUTINE = "nt!ExAllocatePoolWithTag"


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def show(what: str, value: object) -> None:
    say(f"@ {what}: {value}")


def attach(backend: str, connect: str, key: str | None) -> ntoseye.Debugger:
    return ntoseye.attach(backend, connect=connect, key=key, memory_source="kd")


def look_around(debugger: ntoseye.Debugger) -> None:
    for command in COMMANDS:
        say(f"@@ {command}")
        say(debugger.command(command))
    base = debugger.modules["nt"].base
    show("image", debugger.memory.read(base, 2))
    show("processors", len(debugger.cpus))


def move(debugger: ntoseye.Debugger) -> None:
    debugger.command(f"bp {ROUTINE}")
    show("hit", debugger.run(20).symbol)
    debugger.command("bc *")
    show("stepped", debugger.step(20).symbol)
    show("stepped over", debugger.step_over(20).kind)
    show("returned", debugger.step_out(20).kind)
    for _ in range(3):
        debugger.run(0)
        show("interrupted", debugger.interrupt().symbol)


def main(backend: str, connect: str, key: str | None = None) -> None:
    debugger = attach(backend, connect, key)
    look_around(debugger)
    move(debugger)
    show("rebooted", debugger.reboot(20).symbol)
    debugger.close()
    debugger = attach(backend, connect, key)
    show("attached again", [module.name for module in debugger.modules][:2])
    debugger.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
