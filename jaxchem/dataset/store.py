"""A folder of NetCDF files, one a chunk of cells: what is too much for memory, or for one run."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xarray as xr

from ..checkpoint import digest
from ..files import atomic
from .files import opened, write

__all__ = ["Store"]


class Store:
    """Chunks of an ensemble on disk; each is written atomically, so a killed run goes on.

    Iterating gives one dataset a chunk, with `concentration(case, time, species)` and, by `case`,
    the `result` of each cell and its numbers of steps. `cell` numbers the cells of the ensemble.
    """

    def __init__(self, folder: str | Path):
        """Opens a folder, which need not exist yet."""
        self.folder = Path(folder)

    def begin(self, mark: str, chunks: int) -> None:
        """Declares what will be written.

        Raises:
            ValueError: the folder holds another ensemble, or cannot be written to.
        """
        header = self.folder / "store.json"
        content = {"mark": mark, "chunks": chunks}
        if header.exists():
            if self._header() != content:
                raise ValueError(
                    f"{self.folder} holds another ensemble (other cells, times or settings); "
                    "choose a new folder, or delete it to start again."
                )
            return
        with atomic(header) as temporary:
            temporary.write_text(_told(content))

    def check(self, mark: str) -> None:
        """Sees to it that the folder is still of the ensemble that had begun it.

        Raises:
            ValueError: it is of another one, or none.
        """
        if self._header()["mark"] != mark:
            raise ValueError(f"{self.folder} is of another ensemble by now; nothing is written.")

    def _header(self) -> dict[str, Any]:
        """What was declared.

        Raises:
            ValueError: nothing was, or it is not as it was written.
        """
        path = self.folder / "store.json"
        if not path.exists():
            raise ValueError(f"{self.folder} is no store: it has no store.json.")
        text = path.read_bytes()
        try:
            content = json.loads(text)
            content.pop("digest")
        except (ValueError, RecursionError, AttributeError, KeyError):
            content = {}
        if text != _told(content).encode() or set(content) != {"mark", "chunks"}:
            raise ValueError(
                f"{path} is damaged: it does not match its digest; delete the store and run the "
                "ensemble again, or take an older copy of this file."
            )
        return content

    def __len__(self) -> int:
        """How many chunks there will be."""
        return self._header()["chunks"]

    def path(self, chunk: int) -> Path:
        """The file of a chunk."""
        return self.folder / f"chunk-{chunk:06d}.nc"

    def has(self, chunk: int) -> bool:
        """Whether the chunk is there."""
        return self.path(chunk).exists()

    def put(self, chunk: int, dataset: xr.Dataset) -> None:
        """Writes a chunk."""
        write(dataset, self.path(chunk))
        if hasattr(os, "posix_fadvise"):  # nobody reads it soon: the system may use its memory
            file = os.open(self.path(chunk), os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)

    def get(self, chunk: int) -> xr.Dataset:
        """Reads a chunk; `ValueError` where it is missing or damaged."""
        try:
            return opened(self.path(chunk))
        except ValueError as error:
            raise ValueError(
                f"{self.path(chunk)} is missing or damaged ({error}); delete it and run the "
                "ensemble again to fill the gap."
            ) from error

    def __iter__(self) -> Iterator[xr.Dataset]:
        """The chunks in order."""
        return (self.get(chunk) for chunk in range(len(self)))


def _told(content: dict[str, Any]) -> str:
    """The text of store.json, which carries a digest of itself."""
    return json.dumps({**content, "digest": digest(content)}) + "\n"
