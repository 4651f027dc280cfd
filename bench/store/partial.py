"""The file of a checkpoint: read and written below the store, through no link, and moved aside where it is no use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.files import make_folder, put_aside, read_regular, write_beside


@dataclass(frozen=True)
class Partial:
    """A file in the folder partial/ of a store, as a training asks for it (see `bench.checkpoint.Kept`)."""

    file: Path

    @property
    def name(self) -> str:
        """Its name, which tells whose it is."""
        return self.file.name

    def read(self, limit: int) -> bytes:
        """Its bytes; FileNotFoundError where there is none, Corrupt where it is no file of at most so many bytes."""
        return read_regular(self.file.parent, self.file.name, limit)

    def write(self, content: bytes) -> None:
        """Write it whole, or not at all."""
        make_folder(self.file.parent.parent, self.file.parent.name)
        write_beside(self.file.parent, self.file.name, content)

    def put_aside(self) -> Path | None:
        """Move what stands in its place into aside/, unopened; where it went."""
        return put_aside(self.file, self.file.parent.parent / "aside", "partial")
