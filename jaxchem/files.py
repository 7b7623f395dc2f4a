"""Files that are written whole, into folders that one process has, and that tell their damage.

`atomic` writes any file, `hold` keeps a folder for one process, and a `seal` ends a file with a
checksum of what it holds.
"""

import contextlib
import hashlib
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

try:
    import fcntl
except ImportError:  # where there is none, folders are not held
    fcntl = None

__all__ = ["atomic", "hold", "seal", "sealed"]

_SEAL = b"\njaxchem-sha256 "
_SEALED = len(_SEAL) + 65
"""Bytes of a seal: its name, a SHA-256 in hexadecimal and the end of a line."""

_LOCK = ".lock"
_DAY = 86400
_PART = re.compile(r"\..+\.(?P<host>[^.]+)\.(?P<writer>\d+)\.[0-9a-f]{8}\.part")
_AGAIN = "What was written before is kept: make room or choose another folder, and go on from there"


class _Held(NamedTuple):
    """The lock of a folder that this process holds."""

    path: Path
    file: int


_holding: dict[Path, _Held] = {}
_writing: set[str] = set()
"""Names of temporary files that this process is writing."""


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
        if name and not _writes(name["host"], int(name["writer"]), path):
            path.unlink(missing_ok=True)


def _writes(host: str, writer: int, path: Path) -> bool:
    """Whether a process may still be writing a temporary file; on another machine, for a day."""
    if host != _host():
        try:
            return time.time() - path.stat().st_mtime < _DAY
        except OSError:
            return False
    if writer == os.getpid():
        return path.name in _writing
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
        inner = re.search(r"errno = (\d+)", str(error))  # of HDF5, within pages of its own
        number = int(inner[1]) if inner else error.errno
        reason = os.strerror(number) if number else str(error).partition("\n")[0]
        raise ValueError(
            f"cannot write {path}: {reason}. {_AGAIN} (hydra.run.dir=FOLDER and "
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
