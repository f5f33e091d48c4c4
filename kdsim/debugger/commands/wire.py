"""`.kdwire`: the state of the wire to the target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps, Wire, WireState
from kdsim.debugger.commands.registry import command
from kdsim.errors import Unsupported

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session


@command(
    ".kdwire",
    summary="Show the state of the wire: what came, what went, what was repeated and dropped.",
    group="session",
    needs=Caps.RUN,
    see_also=("version", ".kdtargetmac", ".restart"),
    notes=(
        "A command of kdsim's own, in place of kd's Ctrl+D. What was sealed with another key, "
        "forged, repeated or cut off on its way changed nothing; it is counted under Dropped."
    ),
)
def wire_state(session: Session, args: Arguments, name: str) -> WireState:
    args.at_end()
    if not isinstance(session.backend, Wire):
        raise Unsupported(f"There is no wire to {session.backend.description}")
    return session.backend.wire_state()
