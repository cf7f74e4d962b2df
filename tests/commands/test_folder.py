"""What a killed run must not lose, and what it must not leave behind."""

import os
import subprocess
from pathlib import Path

import pytest

from escrime import EscrimeError
from escrime.commands.shared.folder import RunFolder, about_images, first_difference
from escrime.data import ImageSet, load
from escrime.files import whole
from escrime.results.records import COLUMNS, frame


@pytest.fixture
def clock(monkeypatch):
    """Seconds that the test sets."""
    now = [0.0]
    monkeypatch.setattr("escrime.commands.shared.folder.time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def folder(tmp_path):
    made = RunFolder(tmp_path / "run")
    made.prepare("r", {"title": "t", "seed": 0}, {}, "cpu", "escrime run r")
    return made


def seconds(folder) -> dict[str, float]:
    return {stage["name"]: stage["seconds"] for stage in folder.manifest["stages"]}


def test_a_killed_stage_keeps_the_seconds_of_its_last_part(folder, clock):
    part = frame({name: [0 if kind == "int64" else 1.0 if kind == "float64" else "a"] for name, kind in COLUMNS.items()})
    killed = folder.stage("Attack")
    killed.__enter__()
    clock[0] = 4
    folder.write_records("first", part)  # too soon after the last note to write the manifest again
    assert seconds(folder) == {}
    clock[0] = 60
    folder.write_records("second", part)
    clock[0] = 75  # here the process dies: nothing is said at the end of the stage
    assert seconds(folder) == {"Attack": 60}
    again = RunFolder(folder.path)
    with again.stage("Attack"):
        clock[0] = 80
    assert seconds(again) == {"Attack": 65}
    again.lap(0)  # between stages there is nothing to note
    assert seconds(again) == {"Attack": 65} and len(list((folder.path / "records").glob("*.parquet"))) == 2


def test_an_interrupted_stage_is_noted_and_says_what_went_wrong(folder, clock, monkeypatch):
    with pytest.raises(KeyboardInterrupt), folder.stage("Train"):
        clock[0] = 3
        raise KeyboardInterrupt
    assert seconds(folder) == {"Train": 3}

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder, "write_json", full)
    with pytest.raises(ValueError, match="the cause"), folder.stage("Train"):
        clock[0] = 9
        raise ValueError("the cause")
    assert seconds(folder) == {"Train": 3}


def partial(folder, name):
    """What a process that is killed while it writes `name` leaves, made by `whole` itself."""
    with whole(folder / name) as left:
        pass
    (folder / name).rename(left)
    return left


def test_what_a_killed_command_left_is_removed_when_it_goes_on(folder):
    left = [partial(folder.path, "checks.json"), partial(folder.path / "records", "a.parquet")]
    kept = [folder.path / ".mine.txt", folder.path / ".film.partial", folder.path / "records" / "b.partial"]
    for path in kept:
        path.write_text("mine")
    folder.prepare("r", {"title": "t", "seed": 0}, {}, "cpu", "escrime run r")
    assert all(path.exists() for path in kept) and not any(path.exists() for path in left)


def test_killed_before_its_first_file_it_begins_again(tmp_path):
    for name in ("records", "checkpoints"):
        (tmp_path / name).mkdir()
    left = partial(tmp_path, "manifest.json")
    RunFolder(tmp_path).prepare("r", {"title": "t", "seed": 0}, {}, "cpu", "escrime run r")
    assert not left.exists() and RunFolder(tmp_path).manifest["name"] == "r"


def test_a_folder_of_someone_else_is_refused_and_nothing_is_removed(tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "precious").write_text("mine")
    left = partial(tmp_path / "records", "theirs")
    with pytest.raises(EscrimeError, match="not a run folder"):
        RunFolder(tmp_path).prepare("r", {"title": "t", "seed": 0}, {}, "cpu", "escrime run r")
    assert left.exists() and sorted(path.name for path in tmp_path.iterdir()) == ["records"]


def test_other_training_images_are_another_experiment(tmp_path):
    """Of the same names and number: what is trained later would stand beside what the old ones made."""
    train, test = load("digits")
    changed = ImageSet("digits", 255 - train.images, train.labels, train.ids, train.classes)
    run = RunFolder(tmp_path / "run")
    for images in (train, train, changed):
        arguments = ("r", {"title": "t", "seed": 0}, about_images(test, images), "cpu", "escrime run r")
        if images is not changed:
            run.prepare(*arguments)
    with pytest.raises(EscrimeError, match="train_fingerprint"):
        run.prepare(*arguments)


def test_another_grid_is_told_as_it_was_typed():
    assert first_difference({"epsilons": [4 / 255]}, {"epsilons": [8 / 255, 0.1]}, "experiment") == (
        "experiment.epsilons was 4/255, now 8/255, 0.1"
    )


def test_a_name_that_no_result_could_hold_is_refused_at_once(tmp_path):
    with pytest.raises(EscrimeError, match="is not UTF-8"):
        RunFolder(tmp_path / os.fsdecode(b"o\xff"))


def test_another_programs_unfinished_file_is_no_leftover_of_ours(tmp_path):
    (tmp_path / ".film.partial").write_text("theirs")
    with pytest.raises(EscrimeError, match="not a run folder"):
        RunFolder(tmp_path).prepare("r", {"title": "t", "seed": 0}, {}, "cpu", "escrime run r")
    assert (tmp_path / ".film.partial").exists()


def test_why_an_attack_failed_is_written_and_read_inside_the_folder(folder, tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("keep")
    folder.note_failure("net--none--white-box--FGSM", "no gradient")
    assert folder.failures == {"net--none--white-box--FGSM": "no gradient"}
    place = folder / "failures" / "net--none--white-box--PGD.txt"
    place.symlink_to(outside)
    with pytest.raises(EscrimeError, match="is a link"):
        _ = folder.failures
    with pytest.raises(EscrimeError, match="is a link"):
        RunFolder(folder.path)
    folder.note_failure("net--none--white-box--PGD", "other")
    assert outside.read_text() == "keep" and place.read_text() == "other"
    place.write_bytes(b"\xff")
    with pytest.raises(EscrimeError, match="PGD.txt cannot be read"):
        _ = folder.failures
    place.unlink()
    os.mkfifo(place)
    with pytest.raises(EscrimeError, match="is a pipe"):
        RunFolder(folder.path)


def test_a_run_from_a_checkout_names_its_commit(folder):
    """Wherever the module lies in the package: a result nobody can make again is worth little."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        pytest.skip("no checkout")
    head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    commit = folder.manifest["commit"]
    assert commit and head.startswith(commit.removesuffix("-dirty"))
