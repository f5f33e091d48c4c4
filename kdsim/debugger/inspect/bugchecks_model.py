"""What is known of a bug check code."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Variant:
    """Parameters whose meaning depends on the first one."""

    text: str
    arguments: tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class BugCheck:
    """One code.

    Attributes:
        faulting_ip: index of the parameter that holds the failing instruction, if any.
        fault_address: index of the parameter that holds the address that was touched, if any.
        access: index of the parameter whose bit 0 says that it was a write.
        irql, exception, exception_record, context, trap_frame: indexes of those parameters.
        variants: by first parameter.
    """

    name: str
    text: str
    arguments: tuple[str, str, str, str] = ("", "", "", "")
    faulting_ip: int | None = None
    fault_address: int | None = None
    access: int | None = None
    irql: int | None = None
    exception: int | None = None
    exception_record: int | None = None
    context: int | None = None
    trap_frame: int | None = None
    variants: dict[int, Variant] = field(default_factory=dict)

    def argument_texts(self, first: int) -> tuple[str, str, str, str]:
        variant = self.variants.get(first)
        return (variant.text, *variant.arguments) if variant else self.arguments
