"""Machines that the tests run besides the lab."""

from pathlib import Path

from kdsim.resources import resource_path


def lasting_lab(folder: Path) -> str:
    """A file with the lab without its bug check: no client gets away from one that breaks at every
    go, and counted time comes to it as soon as nobody is there."""
    text = resource_path("targets", "lab", "lab.toml").read_text(encoding="utf-8")
    path = folder / "lab.toml"
    path.write_text(text[: text.rindex("[[task]]")], encoding="utf-8")
    return str(path)


def calm_lab(folder: Path) -> str:
    """A file with a machine on which nothing happens."""
    path = folder / "calm.toml"
    path.write_text('name = "calm"\n[boot]\ndrivers = ["tidy.sys"]\n', encoding="utf-8")
    return str(path)
