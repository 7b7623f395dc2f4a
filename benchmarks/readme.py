"""Tables in README.md, each between two marks that bear its name."""

import contextlib
import io
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TextIO

PACKAGES = ("jaxchem", "jax", "diffrax", "scipy", "numpy")
PACKAGES += ("numba", "numbalsoda", "scikit-sundae", "musica", "pypesto", "fides")


def put(folder: Path, name: str, text: str) -> None:
    """Writes `text` between the marks of README.md, or with marks at its end where it has none."""
    path, begin, end = folder / "README.md", f"<!-- {name} -->", f"<!-- /{name} -->"
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    head, _, rest = old.partition(begin)
    _, _, tail = rest.partition(end)
    path.write_text(f"{head}{begin}\n{text}\n{end}{tail or chr(10)}", encoding="utf-8")


@contextlib.contextmanager
def published(name: str, folder: Path | None) -> Iterator[None]:
    """What is printed meanwhile also goes between the marks of a folder's README.md."""
    kept = _Copied(sys.stdout)
    with contextlib.redirect_stdout(kept):
        yield
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        put(folder, name, f"{environment()}\n\n{kept.getvalue().strip()}")


class _Copied(io.StringIO):
    """Passes on what it keeps."""

    def __init__(self, further: TextIO):
        super().__init__()
        self._further = further

    def write(self, text: str) -> int:
        self._further.write(text)
        return super().write(text)

    def flush(self) -> None:
        self._further.flush()


def environment() -> str:
    """Processor and versions."""
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return f"{_processor()}; Python {platform.python_version()}, {', '.join(versions)}."


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
