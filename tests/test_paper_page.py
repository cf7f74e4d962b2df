"""The page of results: what is committed is what the script makes from the committed files, and says what they say."""

import json
import re
import shutil
from pathlib import Path

import pytest

from benchmarks.paper import page as paper
from benchmarks.paper.keep import portable, rounded

pytestmark = pytest.mark.slow

RESULTS = Path(__file__).parents[1] / "docs" / "results"


@pytest.fixture
def copy(tmp_path):
    (tmp_path / "paper").mkdir()
    for file in (RESULTS / "paper").glob("*.json"):
        shutil.copy(file, tmp_path / "paper")
    return tmp_path


def test_the_committed_page_is_the_script_s(copy):
    page = paper.write_page(copy).read_text(encoding="utf-8")
    assert page == (RESULTS / "paper.md").read_text(encoding="utf-8"), "run python -m benchmarks.paper and commit the page"
    pictures = re.findall(r"!\[([^\]]+)\]\(paper/([^)]+)\)", page)
    assert pictures and all(len(alt) > 30 for alt, _ in pictures)
    for _, name in pictures:
        assert (RESULTS / "paper" / name).exists()


def test_the_page_follows_its_numbers(copy):
    """Another accuracy in the file is another number on the page."""
    path = copy / "paper" / "googlenet.json"
    found = json.loads(path.read_text())
    (curve,) = [c for c in found["curves"] if (c["attack"], c["defense"], c["subset"]) == ("FGSM", "none", "leak-free")]
    curve["points"][0][1:4] = [0.1234, 0.1, 0.15]
    path.write_text(json.dumps(found))
    assert "12.3 [10.0, 15.0], n = 250" in paper.write_page(copy).read_text(encoding="utf-8")


def test_files_hold_no_place_of_one_machine_and_are_small():
    found = list((RESULTS / "paper").glob("*.json"))
    assert found
    for path in found:
        text = path.read_text()
        assert len(text) < 300_000
        assert not re.search(r'"(/|~/)|[ @="]/(tmp|home|work|root)/', text), path


def test_commands_are_made_portable():
    command = "escrime run a/b.toml --data /x/images --weights /y/net.safetensors --out /z/run --device cuda"
    assert portable(command) == "escrime run a/b.toml --data DIR --weights net.safetensors --device cuda"
    assert portable("escrime tune --model lenet@/a/b/net.safetensors") == "escrime tune --model lenet@net.safetensors"
    assert rounded({"a": [0.123456, 12.34567, 3]}) == {"a": [0.1235, 12.3457, 3]}


def test_no_worst_case_of_weak_attacks_is_called_the_strongest(copy):
    path = copy / "paper" / "digits.json"
    found = json.loads(path.read_text())
    line = "LeNet on digits, under the strongest adaptive attack"
    assert line in paper.write_page(copy).read_text(encoding="utf-8")
    found["curves"] = [c for c in found["curves"] if c["attack"] != "stronger" or "+" not in c["defense"]]
    path.write_text(json.dumps(found))
    assert line not in paper.write_page(copy).read_text(encoding="utf-8")
