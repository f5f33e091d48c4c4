"""What the user can set; `.push` and `.pop` save and restore it as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

from kdsim.debugger.text import IntegerStyle

KD_SYMBOL_OPTIONS = 0xB0227
"""Symbol options kd starts with (WinDbg: 0x30237)."""

SYMOPT_DEFERRED_LOADS = 0x4
SYMOPT_LOAD_LINES = 0x10
SYMOPT_NO_PROMPTS = 0x80000
SYMOPT_DEBUG = 0x80000000


class TypeOption(IntFlag):
    """`.typeopt`; each of the first three has a command of its own too."""

    NONE = 0
    UNICODE = 1
    """16-bit arrays and pointers are strings (`.enable_unicode`)."""
    LONG_STATUS = 2
    """Long integers are shown in the current radix (`.enable_long_status`)."""
    FORCE_RADIX = 4
    """Other integers are shown in the current radix (`.force_radix_output`)."""
    MATCH_SIZE = 8
    """Of several symbols of one name the largest is taken."""


@dataclass(frozen=True, slots=True)
class OutputFilter:
    """`.ofilter`: which prints of the target are shown."""

    pattern: str
    inverted: bool = False


@dataclass(slots=True)
class Settings:
    """Mutable; one per session.

    Attributes:
        evaluator: "masm" or "c++", the default evaluator.
        register_mask: what `r` shows, bits as in `rm`.
        stack_frames: how many frames `k` shows.
        show: what is printed after every step and stop (`.prompt_allow`): the registers, the
            symbol line, the instruction.
        source_path, extension_path: of `.srcpath` and `.extpath`; nothing is read from them.
        symbol_suffix: tried behind a symbol's name that is not found (`ss`).
        prompt_command: runs after every stop (`.pcmd`).
        echo_processor: `2: kd>` rather than `kd>` on several processors.
        time_stamps: prints of the target, module loads and stops begin with the time.
        kernel_options: of `so`.
        disassembly: options of `.asm`.
        step_filter: patterns of functions that are stepped over by `t`.
        missing_pages: unreadable pages of a dump are told of.
        read_failures, symbol_failures, type_failures: failures that listings pass over are told.
        allow_execution: commands that run the target are permitted.
    """

    radix: int = 16
    evaluator: str = "masm"
    symbol_options: int = KD_SYMBOL_OPTIONS
    type_options: TypeOption = TypeOption.NONE
    register_mask: int = 0xA
    stack_frames: int = 256
    show: frozenset[str] = frozenset({"dis", "ea", "src", "sym"})
    prompt_command: str = ""
    echo_processor: bool = True
    time_stamps: bool = False
    quiet: bool = False
    symbol_suffix: str = ""
    json: bool = False
    kernel_options: frozenset[str] = frozenset()
    disassembly: frozenset[str] = frozenset()
    step_filter: tuple[str, ...] = ()
    output_filter: OutputFilter | None = None
    missing_pages: bool = True
    read_failures: bool = False
    symbol_failures: bool = False
    type_failures: bool = False
    prefer_dml: bool = False
    allow_execution: bool = True
    source_path: str = ""
    extension_path: str = ""

    def _set_option(self, bit: int, on: bool) -> None:
        self.symbol_options = self.symbol_options | bit if on else self.symbol_options & ~bit

    @property
    def symbol_noise(self) -> bool:
        """`!sym noisy`."""
        return bool(self.symbol_options & SYMOPT_DEBUG)

    @symbol_noise.setter
    def symbol_noise(self, on: bool) -> None:
        self._set_option(SYMOPT_DEBUG, on)

    @property
    def symbol_prompts(self) -> bool:
        """`!sym prompts`."""
        return not self.symbol_options & SYMOPT_NO_PROMPTS

    @symbol_prompts.setter
    def symbol_prompts(self, on: bool) -> None:
        self._set_option(SYMOPT_NO_PROMPTS, not on)

    @property
    def load_lines(self) -> bool:
        return bool(self.symbol_options & SYMOPT_LOAD_LINES)

    @property
    def integers(self) -> IntegerStyle:
        """How values of types are shown, by the type options and the radix."""
        options = self.type_options
        return IntegerStyle(
            self.radix if TypeOption.FORCE_RADIX in options else 0,
            self.radix if TypeOption.LONG_STATUS in options else 0,
            TypeOption.UNICODE in options,
        )
