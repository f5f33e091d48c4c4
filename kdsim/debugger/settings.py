"""What the user can set; `.push` and `.pop` save and restore it as a whole."""

from __future__ import annotations

from dataclasses import dataclass

KD_SYMBOL_OPTIONS = 0xB0227
"""Symbol options kd starts with (WinDbg: 0x30237)."""

SYMOPT_DEFERRED_LOADS = 0x4
SYMOPT_LOAD_LINES = 0x10
SYMOPT_NO_PROMPTS = 0x80000
SYMOPT_DEBUG = 0x80000000


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
        echo_processor: `2: kd>` rather than `kd>` on several processors.
    """

    radix: int = 16
    evaluator: str = "masm"
    symbol_options: int = KD_SYMBOL_OPTIONS
    register_mask: int = 0xA
    stack_frames: int = 256
    show: frozenset[str] = frozenset({"dis", "ea", "src", "sym"})
    prompt_command: str = ""
    echo_processor: bool = True
    echo_time: bool = False
    quiet: bool = False
    symbol_suffix: str = ""
    source_path: str = ""
    extension_path: str = ""
    json: bool = False

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
