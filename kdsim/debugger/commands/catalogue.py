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
        *("br", "bs", "bsc", ".bpcmds", ".apply_dbp"),
    ),
    "cache": (".cache",),
    "chkimg": ("!chkimg",),
    "codes": ("!error", "!ioctldecode", "!filetime", "!whattime"),
    "crashdump": (".dump",),
    "devices": ("!drvobj", "!devobj", "!devstack", "!vpb"),
    "display": ("db", "dw", "dW", "dd", "dc", "dq", "dp", "df", "dD", "d"),
    "display_physical": (*("!db", "!dw", "!dd", "!dc", "!dq", "!dp", "!da", "!du", "!eb", "!ed"),),
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
    "environment": ("!peb", "!teb", "!gle"),
    "event_log": (".lastevent", ".eventlog", ".event_code", ".bugcheck", ".enumtag"),
    "execution": (
        *("g", "ga", "gh", "gha", "gn", "gna", "gN", "gNa", "gc", "gu"),
        *(".reboot", ".crash", ".restart", ".allow_exec_cmds", "q", "qq", "qd", ".quit_lock"),
    ),
    "expressions": ("?", "??", ".formats", ".echo", ".printf", "n", ".expr"),
    "extensions": (
        *(".chain", ".load", ".loadby", ".unload", ".unloadall", ".setdll", ".extmatch"),
    ),
    "files": ("!fileobj",),
    "filters": ("sx", "sxe", "sxd", "sxn", "sxi", "sx-", "sxr"),
    "findthreads": ("!findthreads",),
    "function_entry": (".fnent",),
    "gflag": ("!gflag", "!dbgprint"),
    "handles": ("!handle",),
    "headers": ("!dh",),
    "help": (".help", ".hh", "!help"),
    "holdmem": (".holdmem",),
    "host_shell": (".shell", ".noshell"),
    "idt": ("!idt",),
    "images": (".imgscan",),
    "irps": ("!irp", "!irpfind"),
    "links": (
        *("!slist", "!dflink", "!dblink", "!validatelist"),
        *("!gentable", "!rtlavl", "!bitcount"),
    ),
    "lists": ("!list",),
    "locks": ("!locks", "!qlocks"),
    "logging": (".logopen", ".logappend", ".logclose", ".logfile"),
    "lookaside": ("!lookaside",),
    "loops": (
        *("!for_each_module", "!for_each_function"),
        *("!for_each_frame", "!for_each_local", "!for_each_register"),
    ),
    "machine": ("!cpuid", "!cpuinfo", "!sysinfo", "!kuser"),
    "model": ("dx", "dtx"),
    "module_info": ("!lmi", "!chksym", "!itoldyouso", "!imgreloc"),
    "modules": ("lm", "ld"),
    "objects": ("!object",),
    "options": (
        *(".echocpunum", ".echotimestamps", ".prefer_dml", ".ignore_missing_pages"),
        *("sq", "sqe", "sqd", ".lines", ".show_read_failures", ".show_sym_failures"),
        *(".typeopt", ".enable_unicode", ".enable_long_status", ".force_radix_output"),
        *("so", ".asm", ".asm-", ".push", ".pop"),
    ),
    "paging": ("!pte", "!vtop"),
    "pool": ("!pool", "!poolused", "!poolval"),
    "poolfind": ("!poolfind",),
    "ports": ("ib", "iw", "id", "ob", "ow", "od"),
    "processes": ("!process", "!dml_proc", "!for_each_process", "!session", "!sprocess"),
    "processors": ("!pcr", "!prcb", "!irql"),
    "processparts": (
        *("!job", "!apc", "!processfields", "!threadfields", "!tokenfields", "!zombies"),
    ),
    "registers": (
        *("r", "rM", "rF", "rX", "rY", "rYI", "rZ", "rZI", "rK", "rm"),
        *("rdmsr", "wrmsr"),
    ),
    "reload": (".reload",),
    "scope": (".thread", ".process", ".context", ".trap", ".cxr", ".exr", "~"),
    "screen": (".outmask", ".outmask-", ".ofilter", ".cls", ".beep", ".wtitle", ".locale"),
    "search": ("s",),
    "security": ("!token", "!sid", "!acl", "!sd"),
    "selectors": ("dg",),
    "stack": (
        *("k", "kb", "kp", "kP", "kv", "kn", "kc", "kf", "kL"),
        *("kd", ".kframes", ".frame"),
    ),
    "stacks": ("!stacks", "!findstack", "!uniqstack"),
    "status": (
        *("vertarget", "version", "vercommand", ".time", ".echotime", ".effmach", ".sleep"),
        *(".prompt_allow", ".pcmd", ".kdtargetmac"),
    ),
    "stepping": (
        *("p", "pa", "pc", "pt", "pct", "ph", "t", "ta", "tc", "tt", "tct", "th"),
        *("tb", ".step_filter"),
    ),
    "symbol_path": (
        ".sympath",
        ".sympath+",
        ".symfix",
        ".symfix+",
        ".symopt",
        ".symopt+",
        ".symopt-",
        ".exepath",
        ".exepath+",
        *(".srcpath", ".srcpath+", ".lsrcpath", ".lsrcpath+", ".extpath", ".extpath+"),
        "!sym",
        "ss",
    ),
    "symbols": ("x", "ln"),
    "threads": ("!thread", "!ready", "!running", "!for_each_thread"),
    "timers": ("!timer", "!dpcs"),
    "types": ("dt",),
    "unassemble": ("u", "ub", "uu", "up", "ur", "uf", "#"),
    "variables": ("dv",),
    "verifier": ("!verifier",),
    "watch": ("wt",),
    "wire": (".kdwire",),
    "worker": (".pagein",),
}

REGISTRY = Registry(CATALOGUE)
