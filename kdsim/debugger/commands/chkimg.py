"""`!chkimg`: damage of an image in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.inspect.imagecheck import Choice, Difference, ImageCheck
from kdsim.errors import ArgumentError, FormatError, SymbolError
from kdsim.symbols.pe import PeImage

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.symbols.module import Module

SHOWN_BYTES = 8
ROW = 16
MOST_LOGS = 10
SECTION_NAME = 8
LOG_COLUMNS = "vrsSew"


@dataclass(slots=True)
class Options:
    """The switches of `!chkimg`."""

    search: str = ""
    fix: bool = False
    details: bool = False
    dump: bool = False
    verbose: bool = False
    limit: int | None = None
    choice: Choice = field(default_factory=Choice)
    logs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class SectionScan:
    """What was found in one section."""

    name: str
    start: int
    end: int
    compared: int
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class ImageReport:
    """The comparison of one module.

    Attributes:
        symbols: of the first byte of each difference.
        rows: for -db: address, bytes, and which of them differ.
    """

    module: str
    path: str
    options: Options
    scans: tuple[SectionScan, ...]
    symbols: dict[int, str]
    rows: tuple[tuple[int, bytes, frozenset[int]], ...]

    def lines(self) -> Iterator[str]:
        options = self.options
        if options.fix:
            yield "Warning: Any detected errors will be fixed to what we expect!"
        if options.verbose:
            yield from self._introduction()
        details = self._details() if options.details else iter(())
        dump = (_dump_row(*row) for row in self.rows)
        for number, line in enumerate((*details, *dump)):
            if options.limit is not None and number >= options.limit:
                break
            yield line
        if options.verbose:
            for scan in self.scans:
                yield from _section_lines(scan)
        total = sum(len(d.expected) for scan in self.scans for d in scan.differences)
        fixed = " (fixed)" if options.fix and total else ""
        yield f"Number of different bytes for {self.module}: {total}{fixed}"

    def _introduction(self) -> Iterator[str]:
        choice = self.options.choice
        yield f"Searching for module with expression: {self.module}"
        if choice.relocate:
            yield "Will apply relocation fixups to file used for comparison"
        if not choice.locks:
            yield "Will ignore NOP/LOCK errors"
        yield f"Comparison image path: {self.path}"
        whole = not choice.start
        yield "No range specified" if whole else f"Range: {choice.start:016x}-{choice.end:016x}"
        yield ""

    def _details(self) -> Iterator[str]:
        previous = 0
        for difference in (d for scan in self.scans for d in scan.differences):
            size = len(difference.expected)
            span = f"{difference.address:016x}"
            if size > 1:
                span += f"-{difference.last:016x}  {size} bytes"
            gap = f" (+0x{difference.address - previous:02x})" if previous else ""
            yield f"    {span} - {self.symbols[difference.address]}{gap}"
            expected = " ".join(f"{byte:02x}" for byte in difference.expected[:SHOWN_BYTES])
            found = " ".join(f"{byte:02x}" for byte in difference.found[:SHOWN_BYTES])
            yield f"        [ {expected}:{found} ]"
            previous = difference.address


def _section_lines(scan: SectionScan) -> Iterator[str]:
    size = scan.end - scan.start
    errors = sum(len(d.expected) for d in scan.differences)
    share = 100 * scan.compared // size if size else 100
    yield f"Scanning section:    {scan.name}"
    yield f"Size: {size}"
    yield f"Range to scan: {scan.start:016x}-{scan.end:016x}"
    yield f"Total bytes compared: {scan.compared}({share}%)"
    yield f"Number of errors: {errors}"
    yield ""


def _dump_row(address: int, data: bytes, different: frozenset[int]) -> str:
    cells = "".join(
        f"{'*' if address + index in different else ' '}{byte:02x}"
        for index, byte in enumerate(data)
    )
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)
    return f"{address:016x} {cells}  {text}"


@command(
    "!chkimg",
    summary="Compare an image in memory with its file.",
    group="symbols",
    params=(
        Param("module", "module", "name or address; none: where the processor is", optional=True),
    ),
    options=(
        Option("-d", "list the differences"),
        Option("-db", "show the bytes around them"),
        Option("-f", "put the file's bytes into memory"),
        Option("-v", "say what is compared"),
        Option("-as", "all sections that are mapped, not only code"),
        Option("-ss", "only this section", "<section>"),
        Option("-r", "only these addresses", "<start> <end>"),
        Option("-p", "look for the file here first", "<path>"),
        Option("-nar", "do not relocate the file"),
        Option("-noplock", "count lock prefixes as differences"),
        Option("-nospec", "accepted, changes nothing"),
        Option("-np", "accepted, changes nothing"),
        Option("-lo", "show so many lines at most", "<lines>"),
        Option("-mmw", "write a log: v r s S e w, o, tTEXT", "<file> <columns>"),
    ),
    needs=Caps.READ,
    see_also=("lm", "!lmi", "!dh"),
)
def check_image(session: Session, args: Arguments, name: str) -> ImageReport:
    """The file is found by name, time stamp and size, as symbol stores keep it."""
    options = Options()
    target: Module | None = None
    while not args.done:
        if not args.peek().startswith("-"):
            if target is not None:
                raise args.error()
            target = _module(session, args)
            continue
        _option(args, options)
    if target is None:
        target = session.symbols.module_at(session.instruction_pointer)
        if target is None:
            raise ArgumentError("the instruction pointer lies in no module; name one")
    image, path = _image_file(session, target, options.search)
    check = ImageCheck(session.memory, target.base, image, options.choice)
    scans = []
    for section in check.sections():
        session.check_interrupt()
        before = check.compared
        found = tuple(check.differences(section))
        start = target.base + section.rva
        compared = check.compared - before
        scans.append(SectionScan(section.name, start, start + section.size, compared, found))
    differences = [d for scan in scans for d in scan.differences]
    report = ImageReport(
        module=target.name,
        path=path,
        options=options,
        scans=tuple(scans),
        symbols={d.address: _symbol(session, d.address) for d in differences},
        rows=tuple(_rows(session, differences)) if options.dump else (),
    )
    _write_logs(session, target, options, differences)
    if options.fix:
        for difference in differences:
            session.memory.write(difference.address, difference.expected)
    return report


_VALUED = ("-p", "-ss", "-lo")
_PLAIN = ("-f", "-nar", "-as", "-nospec", "-noplock", "-np", "-d", "-db", "-v")


def _option(args: Arguments, options: Options) -> None:
    """Take one switch with its values."""
    column = args.position
    word = args.word() or ""
    choice = options.choice
    if word == "-r":
        options.choice = replace(choice, start=args.expression(), end=args.expression())
    elif word == "-mmw":
        file, letters = args.word(), args.word()
        if not file or not letters:
            raise ArgumentError("!chkimg -mmw needs a file and log options, for instance vSew")
        options.logs = (*options.logs, (file, _log_options(letters)))
        if len(options.logs) > MOST_LOGS:
            raise ArgumentError(f"!chkimg writes up to {MOST_LOGS} log files")
    elif word in _VALUED:
        value = args.word()
        if value is None:
            raise ArgumentError(f"!chkimg {word} needs a value")
        if word == "-p":
            options.search = value
        elif word == "-ss":
            if len(value) > SECTION_NAME:
                raise ArgumentError("a section's name has up to 8 characters")
            options.choice = replace(choice, named=value)
        else:
            if not value.isdigit():
                raise ArgumentError(f"'{value}' is no number of lines")
            options.limit = int(value)
    elif word in _PLAIN:
        options.fix |= word == "-f"
        options.details |= word == "-d"
        options.dump |= word == "-db"
        options.verbose |= word == "-v"
        options.choice = replace(
            choice,
            relocate=choice.relocate and word != "-nar",
            every=choice.every or word == "-as",
            locks=choice.locks or word == "-noplock",
        )
    else:
        raise args.error(column=column)


def _log_options(letters: str) -> str:
    body = letters.partition("t")[0]
    if not set(body) <= set(LOG_COLUMNS + "o") or not set(letters) & set(LOG_COLUMNS):
        raise ArgumentError(f"'{letters}' are no log options: v r s S e w, o, tTEXT")
    return letters


def _module(session: Session, args: Arguments) -> Module:
    """A module's name, or an address in one."""
    column = args.position
    text = (args.word() or "").lstrip("!")
    found = session.symbols.module_named(text)
    if found is not None:
        return found
    args.position = column
    address = args.expression()
    found = session.symbols.module_at(address)
    if found is None:
        raise ArgumentError(f"{address:016x} lies in no module")
    return found


def _image_file(session: Session, module: Module, search: str) -> tuple[PeImage, str]:
    """The file: below the folder of -p first, then in the symbol store."""
    for path in sorted(Path(search).rglob(module.image_name)) if search else ():
        try:
            image = PeImage.from_file(path.read_bytes(), module.name)
        except (FormatError, OSError):
            continue
        if image.timestamp == module.timestamp and image.size_of_image == module.size:
            return image, str(path)
    try:
        path = session.symbols.image_file(module)
        return PeImage.from_file(path.read_bytes(), module.name), str(path)
    except (SymbolError, FormatError, OSError) as error:
        raise ArgumentError(f"no file to compare {module.name} with: {error}") from error


def _symbol(session: Session, address: int) -> str:
    """`nt!Foo+1f`: offsets without 0x, as the command has always printed them."""
    return session.symbols.format(address).replace("+0x", "+")


def _rows(
    session: Session, differences: Sequence[Difference]
) -> Iterator[tuple[int, bytes, frozenset[int]]]:
    """Rows of 16 bytes that hold a difference."""
    changed = {d.address + index for d in differences for index in range(len(d.expected))}
    for start in sorted({address & -ROW for address in changed}):
        data = session.memory.read_some(start, ROW)
        yield start, data, frozenset(changed & set(range(start, start + ROW)))


def _write_logs(
    session: Session, module: Module, options: Options, differences: Sequence[Difference]
) -> None:
    for file, letters in options.logs:
        columns, mark, text = letters.partition("t")
        lines = [
            ",".join((*_columns(session, module, columns, d, index), *([text] if mark else [])))
            for d in differences
            for index in range(len(d.expected))
        ]
        try:
            with Path(file).open("w" if "o" in columns else "a", encoding="utf-8") as stream:
                stream.writelines(f"{line}\n" for line in lines)
        except OSError as error:
            raise ArgumentError(f"{file}: {error.strerror}") from error


def _columns(
    session: Session, module: Module, letters: str, difference: Difference, index: int
) -> Iterator[str]:
    """The columns of one mismatched byte, in the order of the letters."""
    address = difference.address + index
    for letter in letters:
        if letter == "v":
            yield f"{address:016x}"
        elif letter == "r":
            yield f"{address - module.base:x}"
        elif letter == "s":
            yield _symbol(session, address)
        elif letter == "S":
            yield difference.section
        elif letter == "e":
            yield f"{difference.expected[index]:02x}"
        elif letter == "w":
            yield f"{difference.found[index]:02x}"
