"""Which command file declares which names, so that a file is imported when it is first needed.

A test compares this table with the declarations.
"""

from __future__ import annotations

from kdsim.debugger.commands.registry import Registry

CATALOGUE: dict[str, tuple[str, ...]] = {
    "analyze": ("!analyze",),
    "appearance": (".style",),
    "breakpoints": (
        *("bp", "bu", "bm", "ba", "bl", "bc", "bd", "be"),
        *("br", "bs", "bsc", ".bpcmds"),
    ),
    "crashdump": (".dump",),
    "display": (
        *("db", "dw", "dW", "dd", "dc", "dq", "dp", "df", "dD", "d"),
        *("!db", "!dw", "!dd", "!dc", "!dq", "!dp", "!da", "!du"),
    ),
    "display_strings": ("da", "du", "ds", "dS", "dyb", "dyd"),
    "display_symbols": (
        *("dds", "dps", "dqs", "dl", "dlb"),
        *("dda", "ddp", "ddu", "dpa", "dpp", "dpu", "dqa", "dqp", "dqu"),
    ),
    "edit": (
        *("e", "eb", "ew", "ed", "eq", "ep", "ef", "eD", "ea", "eza", "eu", "ezu"),
        *("f", "fp", "m", "c", ".readmem", ".writemem"),
    ),
    "execution": (
        *("g", "ga", "gh", "gn", "gN", "gc", "gu"),
        *("p", "pa", "pc", "pt", "pct", "ph", "t", "ta", "tc", "tt", "tct", "th"),
        *(".reboot", ".crash", "q", "qq", "qd"),
    ),
    "expressions": ("?", "??", ".formats", ".echo", ".printf", "n", ".expr"),
    "filters": ("sx", "sxe", "sxd", "sxn", "sxi", "sx-", "sxr"),
    "headers": ("!dh",),
    "help": (".help", ".hh", "!help"),
    "lists": ("!error", "!list"),
    "logging": (".logopen", ".logappend", ".logclose", ".logfile"),
    "modules": ("lm", "ld", ".reload", "!lmi"),
    "objects": ("!object", "!drvobj", "!devobj"),
    "paging": ("!pte", "!vtop"),
    "pool": ("!pool", "!poolused", "!poolfind"),
    "ports": ("ib", "iw", "id", "ob", "ow", "od"),
    "processes": ("!process", "!thread", "!running"),
    "processors": ("!pcr", "!prcb", "!irql"),
    "registers": ("r", "rM", "rF", "rX", "rm", "rdmsr", "wrmsr"),
    "scope": (".thread", ".process", ".context", ".trap", ".cxr", ".exr", "~"),
    "search": ("s",),
    "stack": (
        *("k", "kb", "kp", "kP", "kv", "kn", "kc", "kf", "kL"),
        *("kd", ".kframes", ".frame"),
    ),
    "status": (
        *("vertarget", "version", ".time", ".lastevent", ".bugcheck", ".effmach", ".sleep"),
        *(".cache", ".lines", ".prompt_allow", "sq", "sqe", "sqd", ".echocpunum"),
    ),
    "symbols": (
        "x",
        "ln",
        ".sympath",
        ".sympath+",
        ".symfix",
        ".symfix+",
        ".symopt",
        ".symopt+",
        ".symopt-",
        ".exepath",
        ".exepath+",
        "!sym",
    ),
    "types": ("dt",),
    "unassemble": ("u", "ub", "uu", "ur", "uf", "#"),
    "variables": ("dv",),
    "verifier": ("!verifier",),
}

REGISTRY = Registry(CATALOGUE)
