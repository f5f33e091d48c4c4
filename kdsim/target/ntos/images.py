"""The machine's disk, as far as it has one: image files by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from kdsim.errors import FormatError, UserError
from kdsim.resources import resource_path
from kdsim.symbols.pe import PeImage


class ImageFiles:
    """Files of the shipped images, then of a lab's own folders. Names ignore case."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        """Raises UserError when a folder is missing."""
        for folder in folders:
            if not folder.is_dir():
                raise UserError(f"images: no folder {folder}")
        self._folders = tuple(folders)
        self._shipped = shipped_images()
        self._loaded: dict[str, PeImage | None] = {}

    def find(self, name: str) -> PeImage | None:
        """The image of that file name; None when there is no such file.

        Raises:
            FormatError: the file is no PE image.
        """
        name = name.lower()
        if name not in self._loaded:
            path = self._path(name)
            self._loaded[name] = PeImage.from_file(path.read_bytes(), path.name) if path else None
        return self._loaded[name]

    def need(self, name: str) -> PeImage:
        """As `find`; a missing file is the lab's mistake."""
        image = self.find(name)
        if image is None:
            places = ", ".join(str(folder) for folder in self._folders) or "no further folder"
            raise UserError(f"no image file {name} (shipped images, {places})")
        return image

    def _path(self, name: str) -> Path | None:
        if name in self._shipped:
            return self._shipped[name]
        for folder in self._folders:
            for path in sorted(folder.iterdir()):
                if path.name.lower() == name and path.is_file():
                    return path
        return None


def shipped_images() -> dict[str, Path]:
    """Where the files of the shipped images are, by name."""
    store = resource_path("targets", "images")
    try:
        manifest = json.loads((store / "manifest.json").read_text(encoding="utf-8"))
        return {name.lower(): store / entry["image"] for name, entry in manifest["images"].items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{store}: the shipped images are incomplete: {error}") from error
