"""`escrime board`: many runs on one page, and nothing side by side that cannot be compared."""

import json
import re

import numpy as np
import pytest

from escrime.errors import EscrimeError
from escrime.report.board import SEES_ALL, read_board, run_folders
from escrime.report.board_page import render_board
from escrime.report.headline import headlines
from escrime.report.run import read_run
from escrime.report.side_by_side import compare_runs
from escrime.report.validity import validity
from escrime.results.records import WORST
from escrime.results.verdicts import verdicts

HOSTILE = "<script>alert(1)\"'&amp; 名前\u0301 " + "long" * 30


@pytest.fixture
def finish(builder, tmp_path):
    """A function (folder, shares, …) → a finished run of one model; facts: of the manifest, data: of its dataset."""

    def made(folder, shares, model="net", case=("none", "white-box"), norm="linf", believe=True, data=None, n=40, **facts):
        built = builder(n).model(model)
        built.sweep(model, *case, "PGD", shares)
        built.parts = [part | {"norm": np.full(n, norm)} for part in built.parts]
        path = built.write(tmp_path / folder)
        manifest = json.loads((path / "manifest.json").read_text()) | facts
        manifest["dataset"] |= data or {}
        manifest["experiment"]["headline_eps"] = max(shares)
        (path / "manifest.json").write_text(json.dumps(manifest))
        about = {"model": model, "defense": case[0], "threat": case[1], "norm": norm}
        looked = {"id": "attack-strength", "severity": "passed", "message": "stronger attacks found no more"} | about
        (path / "checks.json").write_text(json.dumps([looked] if believe else []))
        (path / "verdict.json").write_text(json.dumps([about | {"sentence": "It is finished.", "believe": believe}]))
        return path

    return made


def page(tmp_path, *places):
    return render_board(read_board(run_folders(places or [tmp_path])), tmp_path / "board.html")


def rows(html: str) -> list[list[str]]:
    """The cells of every row of every table, as text."""
    found = re.findall(r"<tr role=\"row\" data-.*?</tr>", html, re.S)
    strip = lambda cell: re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", cell)).strip()  # noqa: E731
    return [[strip(cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.S)] for row in found]


def test_a_row_is_what_the_run_itself_says(finish, tmp_path):
    folder = finish("runs/one", {0: 1.0, 0.1: 0.5})
    (group,) = read_board([folder]).groups
    run = read_run(folder)
    assert [entry.verdict for entry in group.entries] == verdicts(run.records, validity(run), headlines(run))
    (row,) = rows(page(tmp_path))
    assert row[0] == "net undefended" and row[1] == "50.0% [35.2, 64.8]" and row[2] == "100.0%" and row[4] == "40"
    assert row[3] == "believed No check objects." and row[5] == "2026-01-02 03:04" and row[6].startswith("runs/one")


def test_links_to_tables_of_one_name_say_what_tells_them_apart(finish, tmp_path):
    finish("a", {0: 1.0, 0.1: 0.5}, data={"size": 64})
    finish("b", {0: 1.0, 0.1: 0.5}, data={"size": 224, "fingerprint": "another"})
    finish("c", {0: 1.0, 0.2: 0.5}, data={"size": 64})
    links = re.findall(r'<a href="#group-\d+">(.*?)</a>', page(tmp_path), re.S)
    assert len(set(links)) == 3 and sorted("px" in link for link in links) == [False, True, True]


def test_only_the_same_images_norm_budget_and_attacker_share_a_table(finish, tmp_path):
    shares = {0: 1.0, 0.1: 0.5}
    finish("a", shares)
    finish("b", shares, model="other")
    finish("c", shares, model="defended", case=("ppa", "adaptive"))  # as much as who sees the gradients of a network
    others = {"norm": "l2"}, {"data": {"fingerprint": "another"}}, {"case": ("ppa", "transfer")}, {"shares": {0: 1.0, 0.2: 0.5}}
    for number, differs in enumerate(others):
        finish(f"d{number}", **{"shares": shares} | differs)
    groups = read_board(run_folders([tmp_path])).groups
    assert [len(group.entries) for group in groups] == [3, 1, 1, 1, 1]
    assert {entry.run.folder.name for entry in groups[0].entries} == {"a", "b", "c"} and groups[0].setting.attacker == SEES_ALL


def test_without_a_fingerprint_nothing_is_the_same_data(finish, tmp_path):
    for name in ("a", "b"):
        finish(name, {0: 1.0, 0.1: 0.5}, data={"fingerprint": None})
    assert [len(group.entries) for group in read_board(run_folders([tmp_path])).groups] == [1, 1]


def test_attackers_that_see_scores_and_labels_are_two(finish, tmp_path):
    for sees in ("scores", "labels"):
        about = {"net": {"arch": "net", "threat": sees}}
        finish(sees, {0: 1.0, 0.1: 0.5}, case=("none", "black-box"), models=about)
    told = {group.setting.attacker for group in read_board(run_folders([tmp_path])).groups}
    assert told == {"sees scores only", "sees labels only"}


def test_a_run_stands_in_the_tables_of_every_headline_it_was_attacked_at(finish, tmp_path):
    finish("a", {0: 1.0, 4 / 255: 0.7, 8 / 255: 0.5})
    finish("b", {0: 1.0, round(4 / 255, 9): 0.6}, model="other")
    found = {
        round(255 * group.setting.eps): [(e.verdict.model, e.verdict.accuracy) for e in group.entries]
        for group in read_board(run_folders([tmp_path])).groups
    }
    assert found == {4: [("net", 0.7), ("other", 0.6)], 8: [("net", 0.5)]}


def test_what_is_not_believed_stands_last_with_the_reason(finish, tmp_path):
    finish("a", {0: 1.0, 0.1: 0.9}, model="unsure", believe=False)
    finish("b", {0: 1.0, 0.1: 0.5}, model="weak")
    finish("c", {0: 1.0, 0.1: 0.6}, model="strong")
    found = rows(page(tmp_path))
    assert [row[0] for row in found] == ["strong undefended", "weak undefended", "unsure undefended"]
    assert found[2][3] == "not as it stands Nobody has looked for a stronger attack."


def test_from_run_to_run_it_is_the_test_of_compare(finish, tmp_path):
    first = finish("new", {0: 1.0, 0.1: 0.8}, created="2026-01-05T00:00:00+02:00")
    second = finish("old", {0: 1.0, 0.1: 0.5}, created="2026-01-06T00:00:00Z", models={"net": {"weights": "w"}})
    third = finish("last", {0: 1.0, 0.1: 0.525}, created="2026-02-01", models={"net": {"weights": "w"}})
    ((history,),) = ([*group.histories] for group in read_board(run_folders([tmp_path])).groups)
    assert [entry.run.folder for entry in history.entries] == [first, second, third]
    for step, pair in zip(history.steps, ((first, second), (second, third))):
        found = compare_runs(*pair, attacks=(WORST,), epsilons=(0.1,))
        assert step.pair == next(p for p in found.pairs if p.attack == WORST)
    assert [step.pair.verdict for step in history.steps] == ["worse", "no difference shown"]
    html = page(tmp_path)
    c = history.steps[0].pair.comparison
    interval = f"[{100 * c.low:+.1f}, {100 * c.high:+.1f}]".replace("-", "−")
    assert (c.gained, c.lost) == (0, 12) and f"new → old: −30.0 points {interval} on 40 images both have, p &lt; 0.001" in html
    assert "escrime compare new old --model net --attack &#39;worst case&#39; --eps 0.1" in html
    assert html.count("the weights are the same") == 1


def test_one_model_is_no_history(finish, tmp_path):
    finish("a", {0: 1.0, 0.1: 0.5})
    finish("b", {0: 1.0, 0.1: 0.5}, model="other")
    assert "From run to run" not in page(tmp_path)


def test_what_cannot_be_shown_is_named_with_the_reason(finish, tmp_path):
    finish("good", {0: 1.0, 0.1: 0.5})
    (finish("unfinished", {0: 1.0, 0.1: 0.5}) / "verdict.json").unlink()
    (finish("damaged", {0: 1.0, 0.1: 0.5}) / "records" / "000.parquet").write_bytes(b"no records")
    (finish("stranger", {0: 1.0, 0.1: 0.5}) / "manifest.json").write_text('{"dataset": 3}')
    (finish("nothing", {0: 1.0, 0.1: 0.5}) / "manifest.json").unlink()
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "tune.json").write_text("{}")
    (tmp_path / "photos").mkdir()
    board = read_board(run_folders([tmp_path]))
    assert [run.folder.name for run in board.runs] == ["good"]
    reasons = {folder.name: reason for folder, reason in board.left_out}
    assert {name: word in reasons[name] for name, word in {
        "unfinished": "verdict.json", "damaged": "cannot be read", "stranger": "dataset", "nothing": "manifest.json",
        "tuned": "escrime tune"}.items()} == dict.fromkeys(reasons, True)  # fmt: skip
    html = page(tmp_path)
    assert "5 folders left out" in html and "Robustness of 1 model in 1 run<" in html


def test_foreign_names_stay_text_and_links_stay_inside(finish, tmp_path):
    data = {"name": "<img onerror=x>\u202e"}
    folder = finish("javascript:alert(1)/a b#?", {0: 1.0, 0.1: 0.5}, model=HOSTILE, data=data, created="<b>")
    html = page(tmp_path)
    assert "<script>alert" not in html and "<img" not in html and "\u202e" not in html and "<b>" not in html
    assert "&lt;script&gt;alert(1)&#34;&#39;&amp;amp; 名前" in html and 'href="javascript' not in html  # no report, no link
    (folder / "report.html").write_text("drawn")
    assert 'href="javascript%3Aalert%281%29/a%20b%23%3F/report.html"' in page(tmp_path)
    assert not [address for address in re.findall(r'(?:href|src)="([^"]+)"', html) if not address.startswith(("#", "data:"))]


def test_places_are_looked_through_and_none_counts_twice(finish, tmp_path, monkeypatch):
    finish("deep/er/a", {0: 1.0, 0.1: 0.5})
    (tmp_path / "link").symlink_to(tmp_path / "deep")
    monkeypatch.chdir(tmp_path)
    found = run_folders([tmp_path / "deep", tmp_path / "deep" / "er" / "a", tmp_path])
    assert found == [tmp_path / "deep" / "er" / "a"]
    with pytest.raises(EscrimeError, match="no folder"):
        run_folders([tmp_path / "absent"])
    (tmp_path / "bare").mkdir()
    with pytest.raises(EscrimeError, match="no run lies in"):
        run_folders([tmp_path / "bare"])


def test_the_command_writes_one_page_and_says_what_is_on_it(finish, tmp_path, escrime):
    finish("runs/a", {0: 1.0, 0.1: 0.5})
    (finish("runs/b", {0: 1.0, 0.1: 0.5}) / "verdict.json").unlink()
    out = tmp_path / "new" / "all.html"
    code, said, _ = escrime("board", tmp_path / "runs", "--out", out)
    assert code == 0 and "1 run; 1 folder left out" in said and 'href="../runs' not in out.read_text()
    assert len(out.read_text()) < 100_000
    code, _, complaint = escrime("board", tmp_path / "runs", "--out", tmp_path)
    assert code == 2 and "is a folder" in complaint
