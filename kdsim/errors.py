"""The error tree both halves share.

Every class carries fields; its text is made from them. The shell shows `UserError`,
`TargetError`, `SymbolError` and `ProtocolError` as one line. `SimBug` is our own broken
invariant and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence


class KdsimError(Exception):
    """Base of everything kdsim raises on purpose."""


class UserError(KdsimError):
    """The user typed or configured something wrong."""


class CommandSyntaxError(UserError):
    """Malformed command or expression.

    Args:
        message: one line, without the caret.
        text: the text that was parsed.
        column: 0-based place of the mistake in `text`.

    Attributes:
        end: where the piece of `text` ends that was being read; None: with `text`.
    """

    end: int | None = None

    def __init__(self, message: str, text: str = "", column: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.text = text
        self.column = column

    def __str__(self) -> str:
        if not self.text:
            return self.message
        caret = " " * self.column + "^"
        return f"{caret} {self.message} in '{self.text}'"

    def move(self, text: str, offset: int, end: int) -> None:
        """Quote a larger text, in which the one quoted so far begins at `offset`.

        Args:
            text: the larger text.
            offset: a column of it.
            end: where that ends which is read together with the smaller one.
        """
        self.text, self.column, self.end = text, self.column + offset, end

    @property
    def rest(self) -> str:
        """What is left to read at the mistake, as messages quote it."""
        return self.text[self.column : self.end].strip() or "<EOL>"


class UnknownCommand(UserError):
    """No command of that name; `near` holds similar ones."""

    def __init__(self, name: str, near: Sequence[str] = ()) -> None:
        super().__init__(name)
        self.name = name
        self.near = tuple(near)

    def __str__(self) -> str:
        hint = f" (did you mean {', '.join(self.near)}?)" if self.near else ""
        if self.name.startswith("!"):
            return f"No export {self.name[1:]} found{hint}"
        return f"Unknown command '{self.name}'{hint}"


class ArgumentError(UserError):
    """A command's argument has the wrong shape or value."""


class TargetError(KdsimError):
    """The target, or the way to it, said no."""


class MemoryFault(TargetError):
    """Unreadable or unwritable memory.

    Args:
        address: first address that failed.
        length: bytes asked for from there.
        reason: why, when known (for instance the page-table level that was not present).
    """

    def __init__(self, address: int, length: int = 1, reason: str = "") -> None:
        super().__init__(address, length, reason)
        self.address = address
        self.length = length
        self.reason = reason

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        high, low = divmod(self.address & (1 << 64) - 1, 1 << 32)
        return f"Memory access error at {high:08x}`{low:08x}{why}"


class TargetGone(TargetError):
    """The target no longer answers."""


class TargetEnded(TargetGone):
    """The target will not come back either."""


class NotHalted(TargetError):
    """The request needs a stopped target and this one runs."""


class Unsupported(TargetError):
    """This kind of session cannot do that; the text says why."""


class SymbolError(KdsimError):
    """A name, type, image or PDB could not be resolved; the text says what was tried."""


class FormatError(KdsimError):
    """A damaged or foreign file: PE, PDB, dump, toml, saved machine."""


class ProtocolError(KdsimError):
    """Bytes on the wire that break the protocol.

    Args:
        message: what was expected and what came.
        raw: the offending bytes.
    """

    def __init__(self, message: str, raw: bytes = b"") -> None:
        super().__init__(message)
        self.raw = raw


class SimBug(KdsimError):
    """A broken invariant of kdsim itself."""
