"""Which folder a question gets: the one that holds it, wherever that is in the row, else the first that is free."""

from escrime.commands.shared.folder import RunFolder
from escrime.commands.shared.own_folder import own_folder


def question(seed: int) -> dict:
    return {"title": "t", "seed": seed}


def chosen(base, seed):
    said = []
    folder = own_folder(base, lambda folder: folder.holds({"experiment": question(seed), "dataset": {}}), said.append)
    return folder.path.name, said


def begin(path, seed):
    RunFolder(path).prepare("m", question(seed), {}, "cpu", "escrime evaluate")


def test_a_free_name_is_taken_and_found_again(tmp_path):
    base = tmp_path / "evaluate-m"
    assert chosen(base, 0) == ("evaluate-m", [])
    begin(base, 0)
    assert chosen(base, 0) == ("evaluate-m", [])


def test_others_are_passed_by_and_said(tmp_path):
    base = tmp_path / "evaluate-m"
    begin(base, 0)
    name, said = chosen(base, 1)
    assert name == "evaluate-m-2" and "seed was 0, now 1" in said[0] and "evaluate-m-2" in said[0]
    (tmp_path / "evaluate-m-2").write_text("a file of the user's")
    begin(tmp_path / "evaluate-m-10", 3)
    begin(tmp_path / "evaluate-m-other", 1)  # of a model that is called m-other
    assert chosen(base, 1)[0] == "evaluate-m-3" and chosen(base, 3)[0] == "evaluate-m-10"
    (tmp_path / "evaluate-m-3").mkdir()
    (tmp_path / "evaluate-m-3" / "notes.txt").touch()
    assert chosen(base, 1)[0] == "evaluate-m-4"
    (tmp_path / "evaluate-m-4").mkdir()
    assert chosen(base, 1)[0] == "evaluate-m-4", "an empty folder is free"
