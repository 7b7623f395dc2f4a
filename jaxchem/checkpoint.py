"""Files that are written whole, and read only as they were written.

`atomic` writes any file, and `hold` keeps its folder for one process. A checkpoint is a line of
sums, a line of JSON, then the arrays of any pytree: the first line carries the length and the
SHA-256 of all that follows; the second, a `kind` and free fields that say what the file is. Files
of other formats end in a `seal` of the same sum.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import equinox as eqx

try:
    import fcntl
except ImportError:  # where there is none, folders are not held
    fcntl = None

__all__ = ["atomic", "digest", "hold", "load", "read_header", "save", "seal", "sealed"]

_FORMAT = "jaxchem-checkpoint-2"
_SEAL = b"\njaxchem-sha256 "
_SEALED = len(_SEAL) + 65
"""Bytes of a seal: its name, a SHA-256 in hexadecimal and the end of a line."""

_LOCK = ".lock"
_PART = re.compile(r"\..+\.(?P<host>[^.]+)\.(?P<writer>\d+)\.[0-9a-f]{8}\.part")
_AGAIN = "What was written before is kept: make room or choose another folder, and go on from there"
Tree = TypeVar("Tree")


class _Held(NamedTuple):
    """The lock of a folder that this process holds."""

    path: Path
    file: int


_holding: dict[Path, _Held] = {}
_writing: set[str] = set()
"""Names of temporary files that this process is writing."""


def digest(*parts: Any) -> str:
    """Tells apart what JSON can tell apart, and what `str` can of the rest."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


@contextmanager
def hold(folder: str | Path, *, member: int | None = None) -> Iterator[None]:
    """Keeps a folder, which need not exist yet, for this process, and clears it of rests.

    Another process that asks for it is refused until the block ends or the process does, however
    it ends. What killed processes have left half written is removed. Where the file system has no
    locks nobody is refused.

    Args:
        folder: for whatever is written in and below it.
        member: number of the process among those that share the folder; `None` shares it with none.

    Raises:
        ValueError: another process holds the folder, or it cannot be written to.
    """
    folder = Path(folder).resolve()
    names = [_LOCK] if member is None else [_LOCK, f"{_LOCK}-{member}"]
    with contextlib.ExitStack() as stack:
        for name in names:
            path = folder / name
            with _told(folder):
                folder.mkdir(parents=True, exist_ok=True)
                file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            stack.callback(os.close, file)
            _lock(file, folder, shared=member is not None and name == _LOCK)
        if member is None:
            _clear(folder)
        before = _holding.get(folder)
        _holding[folder] = _Held(path, file)
        try:
            yield
        finally:
            del _holding[folder]
            if before is not None:
                _holding[folder] = before


def _lock(file: int, folder: Path, *, shared: bool) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ValueError(
            f"{folder} is in use by another process; wait until that one has ended, or choose "
            "another folder."
        ) from None
    except OSError:  # not every file system has locks
        return


def _clear(folder: Path) -> None:
    """Removes temporary files whose writers are dead."""
    for path in folder.rglob(".*.part"):
        name = _PART.fullmatch(path.name)
        if name and (name["host"] != _host() or not _writes(int(name["writer"]), path.name)):
            path.unlink(missing_ok=True)


def _writes(writer: int, name: str) -> bool:
    """Whether a process of this machine may still be writing a temporary file."""
    if writer == os.getpid():
        return name in _writing
    try:
        os.kill(writer, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _host() -> str:
    return socket.gethostname().replace(".", "-")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turns what the system says of a file that cannot be written into one sentence.

    Raises:
        ValueError: the folder is gone, full or read-only.
    """
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"cannot write {path}: {error.strerror or error}. {_AGAIN} (hydra.run.dir=FOLDER and "
            "resume=FOLDER on the command line)."
        ) from error


def _check_held(path: Path) -> None:
    """Refuses to write below a folder that is gone, or another one, since it was held."""
    for folder, (lock, file) in _holding.items():
        if folder in path.parents:
            try:
                same = os.path.samestat(os.stat(lock), os.fstat(file))
            except OSError:
                same = False
            if not same:
                raise ValueError(
                    f"cannot write {path}: {folder} was moved or removed while it was in use. "
                    f"{_AGAIN}."
                )


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name if the block ends without an error.

    A reader, or a run that is killed, sees the old file or the new one, never a part.

    Raises:
        ValueError: the folder is gone, full or read-only.
    """
    path = Path(path)
    _check_held(path.resolve())
    name = f".{path.name}.{_host()}.{os.getpid()}.{secrets.token_hex(4)}.part"
    temporary = path.with_name(name)
    _writing.add(name)
    try:
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.touch(exist_ok=False)
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        _writing.discard(name)


def seal(path: Path) -> None:
    """Ends a file with the SHA-256 of what it holds, which readers of NetCDF pass over."""
    with open(path, "rb+") as file:
        mark = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0, os.SEEK_END)
        file.write(_SEAL + mark.encode() + b"\n")


def sealed(path: Path) -> bool:
    """Whether a file has a seal; a file of other programs has none.

    Raises:
        ValueError: it has one, and is not as it was written; or it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(size - _SEALED, 0))
            end = file.read()
            file.seek(0)
            found, rest = hashlib.sha256(), max(size - _SEALED, 0)
            while block := file.read(min(rest, 2**20)):
                found.update(block)
                rest -= len(block)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}.") from error
    mark = found.hexdigest().encode()
    if end == _SEAL + mark + b"\n":
        return True
    if _SEAL in end or mark in end:  # one of the two is whole where a part of the seal is not
        raise ValueError(
            f"{path} is damaged: its content does not match its checksum. Delete it to have it "
            "made again, or take an older copy."
        )
    return False


def save(path: str | Path, tree: Any, **header: Any) -> None:
    """Writes the arrays of a pytree and a JSON-able header, atomically.

    Args:
        path: the file.
        tree: any pytree; only its arrays are stored.
        **header: what `read_header` shall give back.

    Raises:
        ValueError: the folder is gone, full or read-only.
    """
    buffer = io.BytesIO()
    eqx.tree_serialise_leaves(buffer, tree)
    content = json.dumps(header).encode() + b"\n" + buffer.getvalue()
    with atomic(path) as temporary, open(temporary, "wb") as file:
        file.write(_sums(content))
        file.write(content)


def _sums(content: bytes) -> bytes:
    return f"{_FORMAT} {len(content)} {hashlib.sha256(content).hexdigest()}\n".encode()


def _read(path: str | Path) -> tuple[dict[str, Any], bytes]:
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"no checkpoint at {path}: {error.strerror or error}.") from error
    first, _, content = content.partition(b"\n")
    sums = first.split(b" ")
    if len(sums) != 3 or sums[0] != _FORMAT.encode() or not re.fullmatch(rb"\d{1,18}", sums[1]):
        raise ValueError(
            f"{path} is not a jaxchem checkpoint of this version; it does not begin with {_FORMAT}."
        )
    if len(content) != int(sums[1]):
        raise ValueError(
            f"checkpoint {path} is truncated: {len(content)} of {int(sums[1])} bytes. Delete "
            "it to start this stage again, or take an older copy."
        )
    if first + b"\n" != _sums(content):
        raise ValueError(
            f"checkpoint {path} is damaged: its content does not match its checksum. Delete it "
            "to start this stage again, or take an older copy."
        )
    line, _, payload = content.partition(b"\n")
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise ValueError(f"checkpoint {path} has a header that cannot be read; make it again.")
    return header, payload


def read_header(path: str | Path) -> dict[str, Any]:
    """The header of a checkpoint; `ValueError` if it is missing, foreign or damaged."""
    return _read(path)[0]


def load(path: str | Path, like: Tree, **expected: Any) -> Tree:
    """Reads a checkpoint into the shape of `like`.

    Args:
        path: the file.
        like: a pytree of the same structure, shapes and dtypes as the one that was saved.
        **expected: header fields that must have these values.

    Raises:
        ValueError: the file is missing, foreign, truncated or damaged, or was saved from another
            kind of thing or another configuration than `like`.
    """
    header, payload = _read(path)
    for name, value in expected.items():
        if header.get(name) != value:
            raise ValueError(
                f"checkpoint {path} was made with another {name}: it has {header.get(name)!r}, "
                f"this run {value!r}. Use the same configuration, or delete it to start again."
            )
    buffer = io.BytesIO(payload)
    try:
        tree = eqx.tree_deserialise_leaves(buffer, like)
        rest = len(buffer.read())
        if rest:
            raise ValueError(f"{rest} bytes are left over.")
    except Exception as error:
        raise ValueError(
            f"checkpoint {path} holds something else than expected: {error}"
        ) from error
    return tree
