"""Nothing in a run folder leads out of it; the folder itself may be a link that its user gave."""

import os

import pytest

from escrime.commands.shared.folder import RunFolder
from escrime.errors import EscrimeError
from escrime.files import locked, whole
from escrime.results.layout import check_file, check_inside


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    (folder / "records").mkdir(parents=True)
    (folder / "figures").mkdir()
    (folder / "checkpoints" / "net--none").mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    return folder


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "keep.txt").write_text("keep")
    (folder / "fig1-net.png").write_text("keep")
    return folder


NAMES = (".lock", "answer.json", "report.html", "claims.json", "verdict.json", "records/0.parquet", "checks", "examples")
NAMES += ("checkpoints/net--none/last.safetensors", "notes.txt")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("target", ["keep.txt", "nothing", ""])
def test_a_link_is_refused_by_name_and_its_target_stays(run, outside, name, target):
    (run / name).symlink_to(outside / target)
    with pytest.raises(EscrimeError, match=f"{(run / name).name} is a link"):
        RunFolder(run)
    assert (outside / "keep.txt").read_text() == "keep" and not (outside / "nothing").exists()


def test_a_folder_of_ours_that_is_a_link_is_refused(run, outside):
    (run / "figures").rmdir()
    (run / "figures").symlink_to(outside)
    with pytest.raises(EscrimeError, match="figures is a link"):
        check_inside(run)


def test_pipes_and_wrong_kinds_are_refused(run):
    os.mkfifo(run / "records" / "0.parquet")
    with pytest.raises(EscrimeError, match="0.parquet is a pipe"):
        check_inside(run)
    (run / "records" / "0.parquet").unlink()
    (run / "claims.json").mkdir()
    with pytest.raises(EscrimeError, match="claims.json is a folder"):
        check_inside(run)
    (run / "claims.json").rmdir()
    (run / "checks").write_text("")
    with pytest.raises(EscrimeError, match="checks is a file"):
        check_inside(run)


def test_the_folder_itself_may_be_a_link(run, tmp_path):
    (tmp_path / "link").symlink_to(run)
    check_inside(tmp_path / "link")
    with RunFolder(tmp_path / "link").lock():
        assert (run / ".lock").is_file()


def test_links_of_others_in_a_folder_of_others_are_their_own_affair(tmp_path, outside):
    (tmp_path / "notes").symlink_to(outside)
    check_inside(tmp_path)


def test_the_lock_neither_follows_nor_empties(tmp_path, outside):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").write_text("what someone wrote")
    with locked(tmp_path / "run", "go"):
        pass
    assert (tmp_path / "run" / ".lock").read_text() == "what someone wrote"
    (tmp_path / "run" / ".lock").unlink()
    (tmp_path / "run" / ".lock").symlink_to(outside / "keep.txt")
    with pytest.raises(EscrimeError, match=".lock is a link"), locked(tmp_path / "run", "go"):
        pass
    assert (outside / "keep.txt").read_text() == "keep"


def test_a_write_takes_the_place_of_a_link(tmp_path, outside):
    (tmp_path / "a.json").symlink_to(outside / "keep.txt")
    with whole(tmp_path / "a.json", follow=False) as new:
        new.write_text("mine")
    assert not (tmp_path / "a.json").is_symlink() and (tmp_path / "a.json").read_text() == "mine"
    assert (outside / "keep.txt").read_text() == "keep"


def test_what_is_missing_is_the_readers_affair(tmp_path):
    check_file(tmp_path / "nothing")
    check_inside(tmp_path / "nothing")
