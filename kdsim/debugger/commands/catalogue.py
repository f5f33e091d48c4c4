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
    "driver_files": (".kdfiles",),
    "edit": (
        *("e", "eb", "ew", "ed", "eq", "ep", "ef", "eD", "ea", "eza", "eu", "ezu"),
        *("f", "fp", "m", "c", ".readmem", ".writemem"),
    ),
    "event_log": (".lastevent", ".eventlog", ".event_code", ".bugcheck", ".enumtag"),
    "execution": (
        *("g", "ga", "gh", "gha", "gn", "gna", "gN", "gNa", "gc", "gu"),
        *(".reboot", ".crash", ".restart", ".allow_exec_cmds", "q", "qq", "qd", ".quit_lock"),
    ),
    "expressions": ("?", "??", ".formats", ".echo", ".printf", "n", ".expr"),
    "extensions": (
        *(".chain", ".load", ".loadby", ".unload", ".unloadall", ".setdll", ".extmatch"),
        *(".extpath", ".extpath+", ".srcpath", ".srcpath+", ".lsrcpath", ".lsrcpath+"),
    ),
    "filters": ("sx", "sxe", "sxd", "sxn", "sxi", "sx-", "sxr"),
    "headers": ("!dh",),
    "help": (".help", ".hh", "!help"),
    "host_shell": (".shell", ".noshell"),
    "lists": ("!error", "!list"),
    "logging": (".logopen", ".logappend", ".logclose", ".logfile"),
    "modules": ("lm", "ld", ".reload", "!lmi"),
    "objects": ("!object", "!drvobj", "!devobj"),
    "options": (
        *(".echocpunum", ".echotimestamps", ".prefer_dml", ".ignore_missing_pages"),
        *("sq", "sqe", "sqd", ".lines", ".show_read_failures", ".show_sym_failures"),
        *(".typeopt", ".enable_unicode", ".enable_long_status", ".force_radix_output"),
        *("so", ".asm", ".asm-", ".push", ".pop"),
    ),
    "paging": ("!pte", "!vtop"),
    "pool": ("!pool", "!poolused", "!poolfind"),
    "ports": ("ib", "iw", "id", "ob", "ow", "od"),
    "processes": ("!process", "!thread", "!running"),
    "processors": ("!pcr", "!prcb", "!irql"),
    "registers": ("r", "rM", "rF", "rX", "rm", "rdmsr", "wrmsr"),
    "scope": (".thread", ".process", ".context", ".trap", ".cxr", ".exr", "~"),
    "screen": (".outmask", ".outmask-", ".ofilter", ".cls", ".beep", ".wtitle", ".locale"),
    "search": ("s",),
    "stack": (
        *("k", "kb", "kp", "kP", "kv", "kn", "kc", "kf", "kL"),
        *("kd", ".kframes", ".frame"),
    ),
    "status": (
        *("vertarget", "version", "vercommand", ".time", ".echotime", ".effmach", ".sleep"),
        *(".cache", ".prompt_allow", ".pcmd", ".kdtargetmac"),
    ),
    "stepping": (
        *("p", "pa", "pc", "pt", "pct", "ph", "t", "ta", "tc", "tt", "tct", "th"),
        *("tb", ".step_filter"),
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
    "watch": ("wt",),
}

REGISTRY = Registry(CATALOGUE)
