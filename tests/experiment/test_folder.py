"""The seconds of a stage, which a killed run must not lose."""

import pytest

from escrime.evaluation.records import COLUMNS, frame
from escrime.experiment.folder import RunFolder


@pytest.fixture
def clock(monkeypatch):
    """Seconds that the test sets."""
    now = [0.0]
    monkeypatch.setattr("escrime.experiment.folder.time.monotonic", lambda: now[0])
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
