"""The compiled kernel's library: kept, checked, loaded; damaged, foreign and hostile files."""

import errno
import fcntl
import hashlib
import logging
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from jaxchem.solvers import build

pytestmark = pytest.mark.skipif(
    os.name != "posix" or shutil.which("cc") is None, reason="there is no C compiler"
)

WRAPPER = """#!/bin/sh
for last; do :; done
case " $* " in
  *" -shared "*) echo linked >> "{folder}/log"; sleep {wait}; cp "{kernel}" "$last" ;;
  *) : > "$last" ;;
esac
"""

HOSTILE = """
#include <stdio.h>
__attribute__((constructor)) static void run(void) { fclose(fopen("%s", "w")); }
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """A library that the compiler has made, quickly."""
    folder = tmp_path_factory.mktemp("kernel")
    recipe = build._Recipe.of()
    return build._Recipe(recipe.compiler, [*recipe.flags, "-O0"]).build(folder)


class World:
    """A cache of its own, and a compiler that counts."""

    def __init__(self, folder: Path, kernel: Path, caplog: pytest.LogCaptureFixture):
        self.folder, self.kernel, self.caplog = folder, kernel, caplog
        self.root = folder / "root"
        self.cache = self.root / "jaxchem"
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self.compiler = folder / "compiler"
        self.marker = folder / "hostile-code-ran"
        self.compiles_in(0)

    def compiles_in(self, seconds: float) -> None:
        text = WRAPPER.format(folder=self.folder, wait=seconds, kernel=self.kernel)
        self.compiler.write_text(text)
        self.compiler.chmod(0o755)

    @property
    def builds(self) -> int:
        log = self.folder / "log"
        return len(log.read_text().splitlines()) if log.exists() else 0

    @property
    def library(self) -> Path:
        return self.cache / build._Recipe.of().name

    @property
    def digest(self) -> Path:
        return self.library.with_name(f"{self.library.name}.sha256")

    def keep(self) -> None:
        """Puts a library where it is looked for; files that are loaded must not be changed."""
        self.cache.mkdir(mode=0o700, parents=True)
        shutil.copy(self.kernel, self.library)
        self.library.chmod(0o644)
        self.sign()

    def sign(self) -> None:
        """Puts the digest of what is there beside it."""
        found = hashlib.sha256(self.library.read_bytes()).hexdigest()
        self.digest.write_text(f"{found}  {self.library.name}\n")

    def hostile(self) -> Path:
        """A library that is no kernel, and tells when it is loaded."""
        source, made = self.folder / "hostile.c", self.folder / "hostile.so"
        source.write_text(HOSTILE % self.marker)
        subprocess.run(["cc", "-shared", "-fPIC", str(source), "-o", str(made)], check=True)
        return made

    def load(self, builds: int, lines: int) -> str:
        """Loads the kernel, right, with so many builds and lines of the log, which it gives."""
        before = self.builds
        self.caplog.clear()
        loaded = build.load()
        assert loaded is not None, self.caplog.text
        assert loaded.jaxchem_rosenbrock
        assert self.builds - before == builds
        assert len(self.caplog.records) == lines, self.caplog.text
        assert not self.marker.exists()
        assert not list(self.temporary.iterdir())
        return self.caplog.text

    def fails(self) -> str:
        """There is no kernel, which one line of the log says."""
        self.caplog.clear()
        assert build.load() is None
        assert len(self.caplog.records) == 1
        assert not list(self.temporary.iterdir())
        return self.caplog.text


@pytest.fixture
def world(tmp_path, kernel, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "jaxchem")
    made = World(tmp_path, kernel, caplog)
    monkeypatch.setenv("JAXCHEM_CACHE", str(made.root))
    monkeypatch.setenv("CC", str(made.compiler))
    monkeypatch.setattr(tempfile, "tempdir", str(made.temporary))
    before = os.umask(0o022)
    yield made
    os.umask(before)


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_a_library_is_kept(world, mask):
    """Everybody may read it, nobody else may write, whatever the user's mask."""
    os.umask(mask)
    world.load(builds=1, lines=0)
    world.load(builds=0, lines=0)
    assert world.cache.stat().st_mode & 0o777 == 0o700
    assert world.library.stat().st_mode & 0o777 == 0o644
    assert world.library.read_bytes() == world.kernel.read_bytes()
    expected = hashlib.sha256(world.kernel.read_bytes()).hexdigest()
    assert world.digest.read_text().split() == [expected, world.library.name]
    kept = {path.name for path in world.cache.iterdir()}
    assert kept == {world.library.name, world.digest.name, f"{world.library.name}.lock"}


def test_other_libraries_have_other_names(monkeypatch):
    """The C library, the compiler and its flags are in the name."""
    names = {build._Recipe.of().name}
    with monkeypatch.context() as patch:
        patch.setattr(build.platform, "libc_ver", lambda: ("glibc", "2.1"))
        names.add(build._Recipe.of().name)
    monkeypatch.setenv("JAXCHEM_CFLAGS", "-g")
    names.add(build._Recipe.of().name)
    monkeypatch.setenv("CC", "another")
    names.add(build._Recipe.of().name)
    assert len(names) == 4


def truncate(world):
    os.truncate(world.library, 4096)


def empty(world):
    os.truncate(world.library, 0)


def flip(world):
    content = bytearray(world.library.read_bytes())
    content[len(content) // 2] ^= 1
    world.library.write_bytes(content)


def lose_the_digest(world):
    world.digest.unlink()


def spoil_the_digest(world):
    world.digest.write_bytes(b"\xff\x00")


def put_another(world):
    shutil.copy(world.hostile(), world.library)


def link_another(world):
    world.library.unlink()
    world.library.symlink_to(world.hostile())
    world.sign()


def make_it_writable(world):
    shutil.copy(world.hostile(), world.library)
    world.sign()
    world.library.chmod(0o664)


def put_a_pipe(world):
    world.library.unlink()
    os.mkfifo(world.library, 0o600)


DAMAGES = (
    *(truncate, empty, flip, lose_the_digest, spoil_the_digest),
    *(put_another, link_another, make_it_writable, put_a_pipe),
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_file_that_is_not_as_it_was_written_is_built_anew(world, damage):
    """It is replaced, and never loaded: no code in it runs, and no signal ends the process."""
    world.keep()
    damage(world)
    text = world.load(builds=1, lines=1)
    assert "built anew" in text
    world.load(builds=0, lines=0)
    assert not world.library.is_symlink()
    assert world.library.read_bytes() == world.kernel.read_bytes()
    assert world.library.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("foreign", ["not a library", "another library"])
def test_what_cannot_be_loaded_here_stays(world, foreign):
    """It may be another machine's: the process builds one for itself."""
    world.keep()
    if foreign == "not a library":
        world.library.write_bytes(b"\x7fELF of another machine")
    else:
        source = world.folder / "other.c"
        source.write_text("int other = 1;")
        subprocess.run(["cc", "-shared", str(source), "-o", str(world.library)], check=True)
    world.sign()
    before = world.library.read_bytes()
    assert "for this process alone" in world.load(builds=1, lines=1)
    assert world.library.read_bytes() == before


def test_what_is_checked_is_what_is_loaded(world, monkeypatch):
    """Another file takes the name between the two."""
    world.keep()
    hostile, load = world.hostile(), build._load

    def late(library):
        os.replace(hostile, world.library)
        return load(library)

    monkeypatch.setattr(build, "_load", late)
    world.load(builds=0, lines=0)


def test_a_library_is_loaded_where_the_system_does_not_name_open_files(world, monkeypatch):
    monkeypatch.setattr(build.os.path, "isdir", lambda _: False)
    world.load(builds=1, lines=0)
    world.load(builds=0, lines=0)


@pytest.mark.parametrize("danger", ["group", "others", "link", "another user"])
def test_a_folder_of_others_is_not_used(world, danger, monkeypatch):
    """Neither read nor written, and the log says why and what to do."""
    world.keep()
    shutil.copy(world.hostile(), world.library)
    world.sign()
    world.library.chmod(0o644)
    said = "chmod go-w"
    if danger == "link":
        elsewhere = world.folder / "elsewhere"
        world.cache.rename(elsewhere)
        elsewhere.chmod(0o777)
        world.cache.symlink_to(elsewhere)
    elif danger == "another user":
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        said = "belongs to another user"
    else:
        world.cache.chmod({"group": 0o770, "others": 0o707}[danger])
    before = {path: path.read_bytes() for path in world.cache.iterdir()}
    text = world.load(builds=1, lines=1)
    assert "for this process alone" in text
    assert str(world.cache) in text
    assert said in text
    assert {path: path.read_bytes() for path in world.cache.iterdir()} == before


def test_a_link_to_a_folder_of_ones_own_is_used(world):
    """As where the cache stands on another disk."""
    elsewhere = world.folder / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    world.root.mkdir()
    world.cache.symlink_to(elsewhere)
    world.load(builds=1, lines=0)
    world.load(builds=0, lines=0)


@pytest.mark.parametrize("place", ["no home", "not a folder", "no such place", "a broken link"])
def test_without_a_place_to_keep_it(world, place, monkeypatch):
    if place == "no home":
        for name in ("JAXCHEM_CACHE", "XDG_CACHE_HOME", "HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    elif place == "not a folder":
        world.root.write_text("")
    elif place == "no such place":
        monkeypatch.setenv("JAXCHEM_CACHE", "/proc/self/nowhere")
    else:
        world.root.mkdir()
        world.cache.symlink_to(world.folder / "nowhere")
    assert "for this process alone" in world.load(builds=1, lines=1)


def refuse_writing(monkeypatch):
    """A disk that can only be read; root would not be stopped by permissions."""
    real = os.open

    def opened(path, flags, *args, dir_fd=None, **more):
        if dir_fd is not None and flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return real(path, flags, *args, dir_fd=dir_fd, **more)

    monkeypatch.setattr(os, "open", opened)


def test_a_disk_that_cannot_be_written(world, monkeypatch):
    """What is kept there serves; where nothing is, the process builds one for itself."""
    world.keep()
    refuse_writing(monkeypatch)
    world.load(builds=0, lines=0)
    world.library.unlink()
    assert "Read-only" in world.load(builds=1, lines=1)


def test_a_full_disk(world, monkeypatch):
    """No half file stays, under any name."""

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert "No space" in world.load(builds=2, lines=1)
    assert [path.suffix for path in world.cache.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    "compiler", ["'unclosed", "no-such-compiler", "false", "true", "/", "cc --no-such-option"]
)
def test_compilers_that_make_nothing(world, compiler, monkeypatch):
    monkeypatch.setenv("CC", compiler)
    assert "no compiled CPU kernel" in world.fails()


def test_what_a_compiler_says_need_not_be_text(world):
    world.compiler.write_text("#!/bin/sh\nprintf 'r\\377fus\\351'; exit 1\n")
    assert "fus" in world.fails()


def test_flags_whose_quotation_does_not_end(world, monkeypatch):
    monkeypatch.setenv("JAXCHEM_CFLAGS", '-DX="')
    assert "quotation" in world.fails()


def test_without_a_temporary_folder(world, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(world.folder / "nowhere"))
    world.caplog.clear()
    assert build.load() is None
    assert len(world.caplog.records) == 1


@pytest.mark.parametrize("compiler", ["", "  "])
def test_an_empty_name_of_a_compiler_is_none(compiler, monkeypatch):
    monkeypatch.setenv("CC", compiler)
    assert build._Recipe.of().compiler == ["cc"]


def start(world, **more):
    """Another process that loads the kernel."""
    # the module alone, for the package takes longer to import
    script = f"import runpy; assert runpy.run_path({build.__file__!r})['load']() is not None"
    environment = {**os.environ, "TMPDIR": str(world.temporary)}
    return subprocess.Popen([sys.executable, "-c", script], env=environment, **more)


def test_of_eight_first_uses_at_once_one_builds(world):
    world.compiles_in(2)
    processes = [start(world) for _ in range(8)]
    assert [process.wait() for process in processes] == [0] * 8
    assert world.builds == 1
    assert not list(world.temporary.iterdir())


def test_a_build_that_is_killed_hurts_nobody(world):
    """Its lock goes with it, and nothing of it is taken for a library."""
    world.compiles_in(60)
    process = start(world, start_new_session=True)
    while not world.builds:
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    shutil.rmtree(world.temporary)
    world.temporary.mkdir()
    world.compiles_in(0)
    world.load(builds=1, lines=0)
    world.load(builds=0, lines=0)


def test_a_builder_that_never_ends_is_not_waited_for(world, monkeypatch):
    world.keep()
    world.library.unlink()
    monkeypatch.setattr(build, "_PATIENCE", 0.1)
    with open(f"{world.library}.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        world.load(builds=1, lines=0)
    world.load(builds=0, lines=0)
