"""The leaderboard: a row is what its runs measured, and the committed page what the script makes of the committed files."""

import copy
import json
import shutil
from pathlib import Path

import pytest

from benchmarks.leaderboard import page, rows
from benchmarks.leaderboard.threats import THREATS

RESULTS = Path(__file__).parents[1] / "docs" / "results"
ENTRY = rows.Entry("net", "A network", "trained well", "net.py:load", ("--size", "160"))


def one(eps, accuracy, attack="worst case", n=200):
    return {"eps": eps, "accuracy": accuracy, "low": accuracy - 0.05, "high": accuracy + 0.05, "n": n, "attack": attack}


def document(kind, headline, cells, believe=True):
    about = {"weights": "abc", "arch": "net"}
    return {
        "manifest": {
            "models": {"net": about},
            "dataset": {"size": 160},
            "stages": [{"name": "Attack", "seconds": 10.4}, {"name": "report", "seconds": 1}],
            "hardware": {"cores": 2},
            "escrime": "0.1.0",
            "commit": "123456789abc",
            "created": "2026-01-02T03:04:05+00:00",
            "command": f"escrime evaluate --model /x/net.py:load --data /y/images --norm {kind} --out /z",
        },
        "verdicts": [{"norm": kind, "eps": headline, "believe": believe}],
        "summary": [one(0.025, 0.4, "FGSM"), one(0.025, 0.3, "AutoAttack")],
        "worst_case": [one(eps, accuracy) for eps, accuracy in cells.items()],
        "checks": [
            {"id": "flat", "severity": "alarm", "answered": False},
            {"id": "few", "severity": "warning", "answered": False},
        ],
    }


@pytest.fixture
def documents(monkeypatch):
    """What the two run folders hold; a test may change it."""
    found = {
        "a": document("linf", 4 / 255, {0.0: 0.9, 4 / 255: 0.3, 0.025: 0.25, 8 / 255: 0.1}),
        "b": document("l2", 0.5, {0.0: 0.9, 0.5: 0.35}, believe=False),
    }
    monkeypatch.setattr(rows, "read_run", lambda folder: folder)
    monkeypatch.setattr(rows, "as_document", lambda folder: copy.deepcopy(found[folder]))
    return found


def test_a_row_is_what_was_measured(documents):
    row = rows.row(ENTRY, {"linf": "a", "l2": "b"})
    shares = {key: cell["accuracy"] for key, cell in row["cells"].items()}
    assert shares == {
        "clean": 0.9,
        "FGSM linf 0.025": 0.4,
        "worst case linf 4/255": 0.3,
        "worst case linf 8/255": 0.1,
        "worst case l2 0.5": 0.35,
    }
    assert [row["cells"][t.key]["believed"] for t in THREATS] == [True, True, True, False]
    assert (row["n"], row["alarms"], row["seconds"], row["weights"]) == (200, ["flat"], 23, "abc")
    assert row["commands"][0] == "escrime evaluate --model net.py:load --data DIR --norm linf"


def test_a_row_may_be_judged_norm_by_norm(documents, tmp_path, monkeypatch):
    """Columns of norms that are still to come stay open, and a later call keeps what an earlier one measured."""
    row = rows.row(ENTRY, {"linf": "a"})
    assert "worst case l2 0.5" not in row["cells"] and row["cells"]["worst case linf 4/255"]["accuracy"] == 0.3
    assert "0.5" not in " ".join(row["commands"]) and page.shown(row["cells"].get("worst case l2 0.5")) == page.NONE
    ran = []

    class Done:
        returncode = 0

    def run(arguments):
        ran.append(arguments)
        Path(arguments[-1]).mkdir(exist_ok=True)
        (Path(arguments[-1]) / "answer.json").write_text("{}")
        return Done

    monkeypatch.setattr(rows.subprocess, "run", run)
    stopped = Path(rows.commands(ENTRY, tmp_path, 200, tmp_path)["l2"][-1])
    stopped.mkdir()
    assert list(rows.judge(ENTRY, tmp_path, 200, tmp_path, ["linf"])) == ["linf"] and len(ran) == 1
    assert list(rows.judge(ENTRY, tmp_path, 200, tmp_path, ["l2"])) == ["linf", "l2"] and len(ran) == 2


def test_what_does_not_belong_into_the_table_is_refused(documents):
    documents["b"]["manifest"]["models"]["net"]["weights"] = "other"
    with pytest.raises(SystemExit, match="2 different networks"):
        rows.row(ENTRY, {"linf": "a", "l2": "b"})
    documents["b"] = document("l2", 0.25, {0.0: 0.9, 0.5: 0.35})
    with pytest.raises(SystemExit, match="headline at ε = 0.25"):
        rows.row(ENTRY, {"linf": "a", "l2": "b"})
    documents["b"] = document("l2", 0.5, {0.0: 0.9})
    with pytest.raises(SystemExit, match="nothing was measured at ε = 0.5"):
        rows.row(ENTRY, {"linf": "a", "l2": "b"})
    documents["b"] = document("l2", 0.5, {0.0: 0.9, 0.5: 0.35})
    documents["a"]["worst_case"][0]["n"] = 199
    with pytest.raises(SystemExit, match="199 images; the table takes rows of at least 200"):
        rows.row(ENTRY, {"linf": "a", "l2": "b"})


def test_the_table_says_what_is_not_believed_and_ranks_by_the_headline(documents, tmp_path):
    rows.keep(rows.row(ENTRY, {"linf": "a", "l2": "b"}), tmp_path / "leaderboard" / "weak.json")
    documents["a"]["worst_case"][1]["accuracy"] = 0.5
    strong = rows.Entry("strong", "A second", "harder", "net.py:load")
    rows.keep(rows.row(strong, {"linf": "a", "l2": "b"}), tmp_path / "leaderboard" / "strong.json")
    lines = [line for line in page.write_page(tmp_path).read_text("utf-8").splitlines() if line.startswith("| A ")]
    assert [line.split(" | ")[0] for line in lines] == ["| A second", "| A network"]
    assert "| 50.0 [25.0, 35.0] |" in lines[0] and "35.0 [30.0, 40.0], not believed" in lines[1]


def test_the_leak_free_images_are_linked_by_their_name(tmp_path):
    for part, count in (("train", 366), ("val", 134)):
        folder = tmp_path / "data" / part / "n01440764"
        folder.mkdir(parents=True)
        (folder / "n01440764_7.JPEG").touch()
        for number in range(count):
            (folder / f"ILSVRC2012_val_{part}{number}.JPEG").touch()
    assert rows.leak_free(tmp_path / "data", tmp_path / "out") == 500
    linked = list((tmp_path / "out" / "n01440764").iterdir())
    assert len(linked) == 500 and all(path.exists() and path.name.startswith("ILSVRC2012_val_") for path in linked)
    linked[0].resolve().unlink()
    with pytest.raises(SystemExit, match="holds 499 images"):
        rows.leak_free(tmp_path / "data", tmp_path / "other")


def test_the_commands_ask_for_every_column(tmp_path):
    made = rows.commands(ENTRY, tmp_path, 200, Path("runs"))
    assert list(made) == ["linf", "l2"]
    assert made["linf"][made["linf"].index("--eps") + 1] == "4/255,0.025,8/255"
    assert made["l2"][made["l2"].index("--eps") + 1] == "0.5" and "--size" in made["l2"]


def test_the_committed_page_is_the_script_s(tmp_path):
    (tmp_path / "leaderboard").mkdir()
    for path in (RESULTS / "leaderboard").glob("*.json"):
        shutil.copy(path, tmp_path / "leaderboard")
    made = page.write_page(tmp_path).read_text("utf-8")
    assert made == (RESULTS / "leaderboard.md").read_text("utf-8"), "run python -m benchmarks.leaderboard and commit the page"
    for path in (RESULTS / "leaderboard").glob("*.json"):
        row = json.loads(path.read_text("utf-8"))
        assert row["commit"] and "dirty" not in row["commit"], path
        assert row["n"] >= rows.LEAST and set(row["cells"]) >= {"clean", *(threat.key for threat in THREATS)}, path
