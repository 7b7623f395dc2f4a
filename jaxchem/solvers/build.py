"""The compiled kernel as a library: built from source on first use, kept, checked, then loaded.

What a library holds runs with the rights of whoever loads it, and a damaged one kills the process.
So nothing is loaded but a whole file that nobody else can have written, and what is checked is what
is loaded. Where no folder is fit to keep it, the kernel is built for the process alone.
"""

import contextlib
import ctypes
import hashlib
import logging
import os
import platform
import secrets
import shlex
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import jax

__all__ = ["FLAGS", "SYMBOL", "load", "processor"]

log = logging.getLogger("jaxchem")

SYMBOL = "jaxchem_rosenbrock"
"""What XLA calls."""

_SOURCE = Path(__file__).with_name("kernel")
_LIBRARIES = ("-lm", "-lpthread")
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off")
"""Of the compiler; any of them that is left out costs bits or time."""

_PATIENCE = 300.0
"""Seconds that a process waits for another one that builds the same."""


class _NotBuiltError(Exception):
    """There is no compiler, or it refuses, with what it said."""


class _Recipe(NamedTuple):
    """How the kernel is built: `JAXCHEM_CFLAGS` adds flags, such as another -march."""

    compiler: list[str]
    flags: list[str]

    @classmethod
    def of(cls) -> "_Recipe":
        """That of the environment.

        Raises:
            ValueError: its quotation does not end.
        """
        compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
        return cls(compiler, [*FLAGS, *shlex.split(os.environ.get("JAXCHEM_CFLAGS", ""))])

    @property
    def name(self) -> str:
        """The file's, another one for whatever makes another library."""
        source = [path.read_bytes() for path in sorted(_SOURCE.glob("*.[ch]"))]
        machine = (processor(), platform.machine(), platform.libc_ver(), jax.__version__)
        mark = repr((source, self, machine)).encode()
        return f"kernel-{hashlib.sha256(mark).hexdigest()[:16]}.so"

    def build(self, folder: Path) -> Path:
        """Compiles the sources, side by side, and links them.

        Raises:
            _NotBuiltError: there is no such compiler, or it refuses.
        """
        compile_ = [*self.compiler, *self.flags, "-fPIC", f"-I{jax.ffi.include_dir()}", "-c"]
        sources = sorted(_SOURCE.glob("*.c"))
        objects = [str(folder / f"{source.stem}.o") for source in sources]
        made = folder / "kernel.so"
        link = [*self.compiler, *self.flags, "-shared", *objects, *_LIBRARIES, "-o", str(made)]
        _run([[*compile_, str(s), "-o", o] for s, o in zip(sources, objects, strict=True)])
        _run([link])
        if not made.exists():
            raise _NotBuiltError(f"{shlex.join(self.compiler)} makes no library")
        return made


def _run(commands: list[list[str]]) -> None:
    """Runs compilers at once."""
    silent, pipe, both = subprocess.DEVNULL, subprocess.PIPE, subprocess.STDOUT
    try:
        running = [subprocess.Popen(c, stdin=silent, stdout=pipe, stderr=both) for c in commands]
    except OSError as error:
        raise _NotBuiltError(str(error)) from error
    said = [process.communicate()[0] for process in running]
    for command, process, words in zip(commands, running, said, strict=True):
        if process.returncode:
            reason = words.decode(errors="replace") or f"exit status {process.returncode}"
            raise _NotBuiltError(f"{shlex.join(command)}: {reason}")


def processor() -> str:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def load() -> ctypes.CDLL | None:
    """The compiled kernel, or `None` where it cannot be had, which the log says in one line."""
    try:
        recipe = _Recipe.of()
        try:
            with _cache() as folder, _found(recipe, folder) as library:
                return _load(library)
        except (OSError, RuntimeError, AttributeError) as error:
            why = error
        with tempfile.TemporaryDirectory(prefix="jaxchem-") as alone:
            loaded = _open(str(recipe.build(Path(alone))))
        log.warning("the compiled CPU kernel was built for this process alone: %s", why)
        return loaded
    except (_NotBuiltError, OSError, AttributeError, ValueError) as error:
        log.warning("no compiled CPU kernel, the slower one in JAX is used: %s", error)
        return None


@contextlib.contextmanager
def _cache() -> Iterator[int]:
    """The folder in which libraries are kept, as a descriptor: its name may change hands.

    Raises:
        OSError: it cannot be made, or others can write into it.
        RuntimeError: nobody knows where the user is at home.
    """
    root = os.environ.get("JAXCHEM_CACHE") or os.environ.get("XDG_CACHE_HOME")
    path = (Path(root) if root else Path.home() / ".cache") / "jaxchem"
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _trust(folder, str(path))
        yield folder
    finally:
        os.close(folder)


def _trust(file: int, name: str) -> None:
    """Refuses what others can have written.

    Raises:
        PermissionError: this user is not the only one who can.
    """
    status = os.fstat(file)
    if status.st_uid != os.geteuid():
        raise PermissionError(f"{name} belongs to another user; JAXCHEM_CACHE names another folder")
    if status.st_mode & 0o022:
        raise PermissionError(f"others can write to {name}; mend it with chmod go-w")


@contextlib.contextmanager
def _found(recipe: _Recipe, folder: int) -> Iterator[BinaryIO]:
    """The library, open and checked; of those who look for it at once, one builds it.

    Raises:
        _NotBuiltError: it cannot be built.
        OSError: it cannot be kept.
    """
    name = recipe.name
    library = _kept(folder, name)
    if library is None:
        with _lock(folder, f"{name}.lock"):
            library = _kept(folder, name)
            if library is None:
                with tempfile.TemporaryDirectory(prefix="jaxchem-") as private:
                    made = recipe.build(Path(private)).read_bytes()
                damaged = name in os.listdir(folder)
                _write(folder, name, made)
                _write(folder, f"{name}.sha256", _digest(made, name))
                if damaged:
                    log.warning("%s was not as it had been written; it was built anew", name)
                library = _kept(folder, name)
    if library is None:
        raise OSError(f"{name} is not what was written")
    with library:
        yield library


def _digest(library: bytes, name: str) -> bytes:
    """What stands beside a library, as `sha256sum -c` reads it."""
    return f"{hashlib.sha256(library).hexdigest()}  {name}\n".encode()


def _kept(folder: int, name: str) -> BinaryIO | None:
    """The library in the folder, open; `None` where it is not there as it was written."""
    try:
        with _file(folder, f"{name}.sha256") as file:
            expected = file.read()
        library = _file(folder, name)
    except OSError:
        return None
    if _digest(library.read(), name) == expected:
        return library
    library.close()
    return None


def _file(folder: int, name: str) -> BinaryIO:
    """A plain file that nobody else can have written.

    Raises:
        OSError: it is not there, or not such a file.
    """
    how = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    file = os.open(name, how, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(f"{name} is not a file")
        _trust(file, name)
    except OSError:
        os.close(file)
        raise
    return open(file, "rb")


def _write(folder: int, name: str, content: bytes) -> None:
    """Puts a file in its place, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    new = f".{name}.{secrets.token_hex(8)}"
    how = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with open(os.open(new, how, 0o600, dir_fd=folder), "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(new, dir_fd=folder)
        raise
    with contextlib.suppress(OSError):  # not every file system knows that of folders
        os.fsync(folder)


@contextlib.contextmanager
def _lock(folder: int, name: str) -> Iterator[None]:
    """Holds other processes off; one that is killed lets go.

    Where there are no locks, or for too long one, each builds for itself, which does no harm.

    Raises:
        OSError: the folder cannot be written to.
    """
    import fcntl  # where there is none, nobody comes this far

    how = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    with open(os.open(name, how, 0o600, dir_fd=folder), "wb") as file:
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.05)
            except OSError:
                break
        yield


def _load(library: BinaryIO) -> ctypes.CDLL:
    """Loads the very file that was checked, whatever has its name by now.

    Raises:
        OSError: it cannot be loaded here.
        AttributeError: it is no kernel.
    """
    if os.path.isdir("/proc/self/fd"):
        # stays open: the loader takes a name that it knows for the library that had it
        return _open(f"/proc/self/fd/{os.dup(library.fileno())}")
    with tempfile.TemporaryDirectory(prefix="jaxchem-") as private:
        copy = Path(private, "kernel.so")
        library.seek(0)
        copy.write_bytes(library.read())
        return _open(str(copy))


def _open(path: str) -> ctypes.CDLL:
    loaded = ctypes.CDLL(path)
    getattr(loaded, SYMBOL)
    return loaded
