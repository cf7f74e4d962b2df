"""The cache: decoded once, never half-written, never believed when damaged, shared by processes."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from escrime import EscrimeError
from escrime.data import cache_folder, load
from escrime.data.decode import decode_bytes


@pytest.fixture
def decodes(monkeypatch):
    """The list of files decoded so far."""
    done = []

    def counting(data, size, name):
        done.append(name)
        return decode_bytes(data, size, name)

    monkeypatch.setattr("escrime.data.files.decode_bytes", counting)
    return done


def same(first, second) -> bool:
    pairs = list(zip(first, second, strict=True))
    arrays = all((a.images == b.images).all() and (a.labels == b.labels).all() for a, b in pairs)
    return arrays and all((a.ids, a.fingerprint) == (b.ids, b.fingerprint) for a, b in pairs)


def files(cache: Path, suffix: str) -> list[Path]:
    return sorted(path for path in cache.iterdir() if path.name.endswith(suffix))


def test_second_load_decodes_nothing_and_is_equal(pets, tmp_path, decodes):
    first = load("folder", folder=pets, size=8, cache=tmp_path / "c")
    assert len(decodes) == 10
    second = load("folder", folder=pets, size=8, cache=tmp_path / "c")
    assert len(decodes) == 10 and same(first, second)
    assert not second.train.images.flags.writeable
    assert isinstance(second.train.images.base, np.memmap) or isinstance(second.train.images, np.memmap)


def test_the_cache_file_is_a_plain_npy(pets, tmp_path):
    train, test = load("folder", folder=pets, size=8, cache=tmp_path / "c")
    arrays = [np.load(path) for path in files(tmp_path / "c", ".npy")]
    assert sorted(len(array) for array in arrays) == [4, 6]
    assert any(np.array_equal(array, train.images) for array in arrays)


def test_key_is_the_content_not_the_place_or_the_time(pets, tmp_path, decodes):
    load("folder", folder=pets, size=8, cache=tmp_path / "c")
    moved = pets.rename(tmp_path / "elsewhere")
    for path in moved.rglob("*.png"):
        os.utime(path, (1, 1))
    load("folder", folder=moved, size=8, cache=tmp_path / "c")
    assert len(decodes) == 10


def test_changed_pixels_are_seen_even_with_the_same_name_time_and_length(pets, tmp_path, save_noise):
    path = pets / "train" / "cat" / "0.png"
    path = path.rename(path.with_suffix(".bmp"))  # uncompressed: every picture has the same length
    save_noise(path, 100)
    before, stat = load("folder", folder=pets, size=8, cache=tmp_path / "c").train, path.stat()
    save_noise(path, 200)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    after = load("folder", folder=pets, size=8, cache=tmp_path / "c").train
    changed = [a for a, x, y in zip(after.ids, before.images, after.images, strict=True) if not np.array_equal(x, y)]
    assert changed == ["train/cat/0.bmp"] and before.fingerprint != after.fingerprint


def test_another_size_or_decoder_is_another_entry(pets, tmp_path, decodes, monkeypatch):
    load("folder", folder=pets, size=8, cache=tmp_path / "c")
    assert load("folder", folder=pets, size=6, cache=tmp_path / "c").train.images.shape == (6, 3, 6, 6)
    load("folder", folder=pets, size=8, cache=tmp_path / "c")
    assert len(decodes) == 20
    monkeypatch.setattr("escrime.data.files.DECODER", 10_000)
    load("folder", folder=pets, size=8, cache=tmp_path / "c")
    assert len(decodes) == 30


def in_memory(part):
    return replace(part, images=np.array(part.images))  # out of the map, before its file is damaged


@pytest.mark.filterwarnings("ignore:1 of 10 images")
def test_entries_of_renamed_files_live_side_by_side(pets, tmp_path, decodes):
    """The entry remembers the names of unreadable files, so the names are part of its key."""
    broken = pets / "train" / "cat" / "1.png"
    broken.write_bytes(b"")
    for name in ("1.png", "1b.png", "1.png"):
        broken = broken.rename(broken.with_name(name))
        splits = load("folder", folder=pets, size=8, cache=tmp_path / "c", on_error="skip")
        assert list(splits.train.left_out) == [f"train/cat/{name}"]
    assert len(decodes) == 10 + 6, "the third time, nothing is left to decode"


def damage_tail(path):
    os.truncate(path, path.stat().st_size - 10)


def damage_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


DAMAGE = {
    "truncated": (".npy", damage_tail),
    "a flipped bit": (".npy", damage_bit),
    "zero bytes": (".npy", lambda path: path.write_bytes(b"")),
    "zeros": (".npy", lambda path: path.write_bytes(bytes(path.stat().st_size))),
    "gone": (".npy", lambda path: path.unlink()),
    "record truncated": (".json", damage_tail),
    "record of another type": (".json", lambda path: path.write_text("[]")),
    "record gone": (".json", lambda path: path.unlink()),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_cache_is_noticed_and_made_again(pets, tmp_path, decodes, kind):
    suffix, damage = DAMAGE[kind]
    first = [in_memory(part) for part in load("folder", folder=pets, size=8, cache=tmp_path / "c")]
    for path in files(tmp_path / "c", suffix):
        damage(path)
    second = load("folder", folder=pets, size=8, cache=tmp_path / "c")
    assert same(first, second) and len(decodes) == 20
    load("folder", folder=pets, size=8, cache=tmp_path / "c")
    assert len(decodes) == 20, "the repaired cache must serve again"


def test_a_load_that_is_broken_off_leaves_nothing(pets, tmp_path, decodes):
    def stop(done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load("folder", folder=pets, size=8, cache=tmp_path / "c", progress=stop)
    assert list((tmp_path / "c").iterdir()) == []
    assert len(load("folder", folder=pets, size=8, cache=tmp_path / "c").train) == 6


def test_what_a_killed_process_left_is_cleared_after_a_day(pets, tmp_path):
    cache = tmp_path / "c"
    load("folder", folder=pets, size=8, cache=cache)
    entry = files(cache, ".npy")[0]
    old, fresh = cache / f".{entry.name}.aa.partial", cache / f".{entry.name}.bb.partial"
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 200_000,) * 2)
    entry.unlink()
    load("folder", folder=pets, size=8, cache=cache)
    assert not old.exists() and fresh.exists()


def test_progress_counts_through_both_sets_and_reports_a_hit(pets, tmp_path):
    calls = []
    load("folder", folder=pets, size=8, cache=tmp_path / "c", progress=lambda *call: calls.append(call))
    assert calls == [(done, 10) for done in range(1, 11)]
    calls.clear()
    load("folder", folder=pets, size=8, cache=tmp_path / "c", progress=lambda *call: calls.append(call))
    assert calls[-1] == (10, 10) and len(calls) <= 2


def test_order_of_images_does_not_depend_on_who_finishes_first(pets, tmp_path, monkeypatch):
    def slow_first(data, size, name):
        time.sleep(0.1 if name.endswith("/0.png") else 0)
        return decode_bytes(data, size, name)

    first = load("folder", folder=pets, size=8, cache=tmp_path / "c")
    monkeypatch.setattr("escrime.data.files.decode_bytes", slow_first)
    monkeypatch.setattr("escrime.data.cache.cores", lambda: 4)
    assert same(first, load("folder", folder=pets, size=8, cache=tmp_path / "d"))


def test_windows_of_work_join_without_a_seam(pets, tmp_path, monkeypatch):
    first = load("folder", folder=pets, size=8, cache=tmp_path / "c")
    monkeypatch.setattr("escrime.data.cache.WINDOW", 4)
    assert same(first, load("folder", folder=pets, size=8, cache=tmp_path / "d"))


@pytest.mark.slow
def test_two_processes_may_decode_at_once(pets, tmp_path):
    code = (
        "import sys, time, pathlib\n"
        "from escrime.data import load\n"
        "pathlib.Path(sys.argv[3]).touch()\n"
        "def slow(done, total): time.sleep(0.1)\n"
        "train, test = load('folder', folder=sys.argv[1], size=8, cache=sys.argv[2], progress=slow)\n"
        "print(train.fingerprint, test.fingerprint)\n"
    )
    ready, cache = tmp_path / "ready", tmp_path / "c"
    command = [sys.executable, "-c", code, str(pets), str(cache), str(ready)]
    writers = set()

    def watch(done, total):
        time.sleep(0.1)
        writers.update(path.name for path in cache.glob(".*.npy.*.partial"))

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        while not ready.exists() and other.poll() is None:
            time.sleep(0.005)  # start together, so that both find the cache empty
        mine = load("folder", folder=pets, size=8, cache=cache, progress=watch)
        output, _ = other.communicate(timeout=120)
    assert other.returncode == 0 and len(writers) > 2, "both must have been writing one of the two files at once"
    assert output.split() == [mine.train.fingerprint, mine.test.fingerprint]
    assert same(mine, load("folder", folder=pets, size=8, cache=tmp_path / "alone"))
    assert len(list(cache.iterdir())) == 4, "two .npy and two .json, no temporary files"
    assert same(mine, load("folder", folder=pets, size=8, cache=cache))


def test_a_cache_that_cannot_be_written_is_one_sentence(pets, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(EscrimeError, match=r"cannot write to the cache folder .*ESCRIME_CACHE"):
        load("folder", folder=pets, size=8, cache=tmp_path / "file" / "c")


def test_too_little_space_is_said_before_the_work(pets, tmp_path, monkeypatch, decodes):
    monkeypatch.setattr("escrime.data.cache.shutil.disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(EscrimeError, match=r"need 0.00 GiB .*smaller size"):
        load("folder", folder=pets, size=8, cache=tmp_path / "c")
    assert decodes == []


def test_where_the_cache_is(tmp_path, monkeypatch):
    monkeypatch.setenv("ESCRIME_CACHE", str(tmp_path / "env"))
    assert cache_folder(tmp_path / "argument") == tmp_path / "argument"
    assert cache_folder() == tmp_path / "env"
    monkeypatch.delenv("ESCRIME_CACHE")
    monkeypatch.setattr("escrime.data.cache.sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "escrime"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "escrime"
