"""A file is whole or absent."""

import os
import shutil
import subprocess
import sys
import threading

import pytest

from escrime.errors import EscrimeError
from escrime.files import leftovers, whole, write_whole


def test_written_and_replaced(tmp_path):
    write_whole(tmp_path / "sub" / "a.txt", "é")
    write_whole(tmp_path / "sub" / "a.txt", b"second")
    assert (tmp_path / "sub" / "a.txt").read_bytes() == b"second"
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["a.txt"]


def test_behind_a_link_its_target_is_written(tmp_path):
    (tmp_path / "target.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("target.txt")
    (tmp_path / "dangling.txt").symlink_to("made.txt")
    write_whole(tmp_path / "link.txt", "new")
    write_whole(tmp_path / "dangling.txt", "made")
    assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "target.txt").read_text() == "new"
    assert (tmp_path / "dangling.txt").is_symlink() and (tmp_path / "made.txt").read_text() == "made"


def test_a_killed_write_behind_a_link_is_found_again(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link.txt").symlink_to("disk/target.txt")
    with pytest.raises(KeyboardInterrupt), whole(tmp_path / "link.txt") as temporary:
        shutil.copy(temporary, temporary.with_name(temporary.name.replace("target.txt.", "target.txt.x")))
        raise KeyboardInterrupt
    assert [path.parent.name for path in leftovers(tmp_path / "link.txt")] == ["disk"]


def test_a_redirected_stream_keeps_what_was_written_before(tmp_path):
    code = "from escrime.files import write_whole; print('first', flush=True); write_whole('/dev/stdout', 'second')\n"
    code += "print('third')"
    with open(tmp_path / "out.txt", "a") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True, timeout=60)
    assert (tmp_path / "out.txt").read_text() == "first\nsecondthird\n"


def test_a_name_that_is_too_long_is_one_sentence(tmp_path):
    with pytest.raises(EscrimeError, match="could not be written"):
        write_whole(tmp_path / ("x" * 300), "content")


def test_a_pipe_gets_the_content_and_stays_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    got = []
    reader.start()
    write_whole(tmp_path / "pipe", "through")
    reader.join(10)
    assert got == [b"through"] and (tmp_path / "pipe").is_fifo() and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_file(tmp_path, error):
    write_whole(tmp_path / "a.txt", "old")
    with pytest.raises(
        EscrimeError if isinstance(error, OSError) else KeyboardInterrupt,
        match="No space" if isinstance(error, OSError) else None,
    ):
        with whole(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise error
    assert (tmp_path / "a.txt").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(os.name == "nt", reason="modes are another thing there")
def test_a_file_keeps_its_mode_and_a_new_one_has_the_users(tmp_path):
    umask = os.umask(0o027)
    try:
        write_whole(tmp_path / "new", "first")
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640
        (tmp_path / "new").chmod(0o600)
        with whole(tmp_path / "new") as temporary:
            temporary.write_text("second")
            assert temporary.stat().st_mode & 0o777 == 0o600  # nor is a secret to be read while it is written
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600 and (tmp_path / "new").read_text() == "second"
        (tmp_path / "new").chmod(0o755)
        write_whole(tmp_path / "new", "third")
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o755
    finally:
        os.umask(umask)


def test_the_folder_is_flushed_after_the_name_is_taken(tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: done.append(os.path.isdir(f"/proc/self/fd/{handle}")) or fsync(handle))
    monkeypatch.setattr(os, "replace", lambda *names: done.append("replaced") or replace(*names))
    write_whole(tmp_path / "a", "b")
    assert done == [False, "replaced", True]


def test_a_system_without_fcntl_locks_otherwise(tmp_path):
    """As Windows: importing works, a second program is refused."""
    code = """
import subprocess, sys, types
sys.modules["fcntl"] = None
held = []
def locking(number, mode, count):
    if held:
        raise OSError("locked")
    held.append(number)
sys.modules["msvcrt"] = types.SimpleNamespace(locking=locking, LK_NBLCK=2)
import escrime.cli, escrime.commands.run
from pathlib import Path
from escrime.files import locked
from escrime import EscrimeError
with locked(Path(sys.argv[1]), "give another folder"):
    try:
        with locked(Path(sys.argv[1]), "give another folder"):
            pass
    except EscrimeError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "run"], capture_output=True, text=True, timeout=120)
    assert "another escrime run is working in" in done.stdout, done.stderr
