"""The one entry point: `kdsim`, `kdsim kd`, `kdsim target`, `kdsim wire`.

Exit status: 0 when the last command line ended well, 1 when a command reported an error under
`-c`/`-cf`, 2 for bad usage, 3 when no target answered.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from kdsim import __version__
from kdsim.errors import KdsimError, TargetError, UserError

EXIT_USAGE = 2
EXIT_NO_TARGET = 3
EXIT_INTERRUPTED = 130

KEY_VARIABLE = "KDSIM_KEY"
COLLECT_EVERY = 50_000
"""New objects between two searches for garbage cycles, of which we make few; Python's is 700."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit status."""
    gc.set_threshold(COLLECT_EVERY)
    # Without it the end of the process is one long search for garbage.
    atexit.register(gc.freeze)
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        options = _parse(arguments or ["kd"])
        return _COMMANDS[options.command](options)
    except UserError as error:
        print(f"kdsim: {error}", file=sys.stderr)
        return EXIT_USAGE
    except TargetError as error:
        print(f"kdsim: {error}", file=sys.stderr)
        return EXIT_NO_TARGET
    except KdsimError as error:
        print(f"kdsim: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except OSError as error:
        # The reader of the output went away (`kdsim kd ... | head`), or its disk is full.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            print(f"kdsim: {error.strerror}", file=sys.stderr)
        return 1


def _parse(arguments: list[str]) -> argparse.Namespace:
    options, unknown = _parser().parse_known_args(arguments)
    if unknown:
        raise UserError(
            f"unrecognized arguments: {' '.join(unknown)}; see kdsim {options.command} -h"
        )
    return options


def _kd(options: argparse.Namespace) -> int:
    from kdsim.debugger.shell.start import KdOptions, run

    _check_kd(options)
    _hide(options.transport)
    key = os.environ.get(KEY_VARIABLE, "")
    if options.key_file:
        key = _read_key(options.key_file)
    return run(
        KdOptions(
            transport=options.transport,
            local=options.local,
            machine=options.machine,
            dump=options.dump,
            key=key,
            commands=options.commands,
            script=options.script,
            symbol_path=options.symbol_path,
            image_path=options.image_path,
            log=options.log,
            append_log=options.append_log,
            break_in=options.break_in,
            break_on_load=options.break_on_load,
            verbose=options.verbose,
            json=options.json,
            timeout=options.timeout,
            seed=options.seed,
        )
    )


def _hide(text: str | None) -> None:
    """Take the key out of the process list; KDSIM_KEY and --key-file never put it there."""
    _, given, key = (text or "").partition("key=")
    if given:
        from kdsim.processlist import hide

        hide(key.partition(",")[0])


def _check_kd(options: argparse.Namespace) -> None:
    chosen = [
        name
        for name, value in (
            ("-k", options.transport),
            ("-kl", options.local),
            ("-z", options.dump),
        )
        if value
    ]
    if len(chosen) > 1:
        raise UserError(f"{' and '.join(chosen)} exclude each other")
    if options.machine and not options.local:
        raise UserError("--machine goes with -kl")


def _target(options: argparse.Namespace) -> int:
    from kdsim.target.runner import TargetOptions, run_target

    return run_target(
        TargetOptions(
            machine=options.machine,
            host=options.host,
            port=options.port,
            key=_key(options),
            com=options.com,
            seed=options.seed,
            processors=options.cpus,
            ram=options.ram,
            wait=options.wait,
            parent_pipe=options.parent_pipe,
            capture=options.capture,
            kdnet_version=options.kdnet_version,
        )
    )


def _wire(options: argparse.Namespace) -> int:
    from kdsim.wire.capture import read_capture
    from kdsim.wire.listing import Listing

    try:
        data = Path(options.file).read_bytes()
    except OSError as error:
        raise UserError(f"cannot open {options.file}: {error.strerror}") from error
    listing = Listing(_key(options), fields=not options.short, data=options.data)
    for line in listing.lines(read_capture(data)):
        print(line)
    if listing.counts.datagrams:
        print(listing.counts.line(), file=sys.stderr)
    return 0


def _key(options: argparse.Namespace) -> str:
    if options.key_file:
        return _read_key(options.key_file)
    if options.key:
        _hide(f"key={options.key}")
    return options.key or os.environ.get(KEY_VARIABLE, "")


def _read_key(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"cannot read the key file {path}: {reason}") from error


_COMMANDS = {"kd": _kd, "target": _target, "wire": _wire}


class _Parser(argparse.ArgumentParser):
    """Complains in one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} -h")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="kdsim",
        description="A Windows kernel to debug, and the kd> to debug it with.",
        epilog="Without a command: start the lab machine and debug it.",
    )
    parser.add_argument("--version", action="version", version=f"kdsim {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    kd = "the kernel debugger; without -k, -kl and -z it starts a lab machine of its own"
    _kd_options(commands.add_parser("kd", help=kd, description=kd, allow_abbrev=False))
    target = "run a machine in the foreground"
    _target_options(commands.add_parser("target", help=target, description=target))
    wire = "print a capture of KDNET or KDCOM"
    _wire_options(commands.add_parser("wire", help=wire, description=wire))
    return parser


def _kd_options(kd: argparse.ArgumentParser) -> None:
    add = kd.add_argument
    add(
        "-k",
        dest="transport",
        metavar="TRANSPORT",
        help="net:port=N[,key=K] | com:pipe,port=PATH[,reconnect] | com:ipport=N,port=HOST",
    )
    add("-kl", dest="local", action="store_true", help="local kernel debugging")
    add("--machine", metavar="NAME", help="with -kl: which running machine")
    add("-z", dest="dump", metavar="FILE", help="open a crash dump")
    add("-c", dest="commands", metavar="CMDS", help="commands to run, then leave at end of input")
    add("-cf", dest="script", metavar="FILE", help="a file of commands to run first")
    add("-y", dest="symbol_path", metavar="PATH", help="symbol path")
    add("-i", dest="image_path", metavar="PATH", help="image path")
    add("-logo", dest="log", metavar="FILE", help="write a log file")
    add("-loga", dest="append_log", metavar="FILE", help="append to a log file")
    add("-b", dest="break_in", action="store_true", help="break in as soon as the target is there")
    add("-d", dest="break_on_load", action="store_true", help="break at the next module load")
    add("-v", dest="verbose", action="store_true", help="say more")
    add("--json", action="store_true", help="records as JSON, one per line")
    add("--timeout", type=float, metavar="SECONDS", help="give up when no target answers")
    add("--key-file", metavar="FILE", help=f"KDNET: the key, from a file; also ${KEY_VARIABLE}")
    add("--seed", type=int, metavar="N", help="private machine: its seed")


def _target_options(target: argparse.ArgumentParser) -> None:
    add = target.add_argument
    add("machine", nargs="?", default="lab", metavar="NAME|FILE.toml", help="lab when left out")
    add("--host", metavar="IP", help="KDNET: where the debugger listens")
    add("--port", type=int, metavar="N", help="KDNET: the debugger's UDP port")
    add("--key", metavar="K", help="KDNET: the key w.x.y.z")
    add("--key-file", metavar="FILE", help=f"KDNET: the key, from a file; also ${KEY_VARIABLE}")
    add("--kdnet-version", type=int, metavar="N", help="KDNET: 2, 4 (as without it) or 5")
    add("--com", metavar="unix:PATH|tcp:PORT|pty", help="KDCOM: listens, or opens a line")
    add("--seed", type=int, metavar="N", help="fixes every address; counts time by instructions")
    add("--cpus", type=int, metavar="N", help="processors")
    add("--ram", metavar="SIZE", help="for instance 512M")
    add("--wait", action="store_true", help="stop at the end of boot until a debugger comes")
    add("--pcap", dest="capture", metavar="FILE", help="record the wire as a capture")
    add("--parent-pipe", type=int, help=argparse.SUPPRESS)


def _wire_options(wire: argparse.ArgumentParser) -> None:
    add = wire.add_argument
    add("file", metavar="FILE", help="a pcap or pcapng file, for instance of --pcap")
    add("--key", metavar="K", help="KDNET: the key w.x.y.z; without it datagrams stay sealed")
    add("--key-file", metavar="FILE", help=f"KDNET: the key, from a file; also ${KEY_VARIABLE}")
    add("--short", action="store_true", help="one line a packet")
    add("--data", action="store_true", help="also the data of messages, as bytes")
