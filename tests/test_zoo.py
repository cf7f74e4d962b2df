"""escrime's verdicts on models whose truth is known: one member, one bar. `python -m tests.zoo` tells more."""

import pytest
import torch

from tests.zoo.__main__ import table
from tests.zoo.judge import BARS, judged, misses
from tests.zoo.member import Kit
from tests.zoo.members import COUNT, MEMBERS
from tests.zoo.truth import naive, on_grid, right, truth

pytestmark = pytest.mark.timeout(1800)


# One or two of each kind, and quick: CI runs these, `-m long` or `python -m tests.zoo` all of them.
IN_CI = {
    *("luma in numpy", "hardened while gradients are on", "tanh plateau", "hardened off the grid", "inertia"),
    *("only in batches", "logits × 30", "tanh", "sees nothing"),
}


def test_members_that_ci_judges_exist():
    assert set(MEMBERS) >= IN_CI


def _marked(members):
    found = []
    for member in members:
        marks = [pytest.mark.slow if member.name in IN_CI else pytest.mark.long]
        found.append(pytest.param(member.name, marks=marks + ([pytest.mark.shared] if member.photos else [])))
    return found


FALSE = [member for member in MEMBERS.values() if member.kind == "false"]


@pytest.fixture(scope="module")
def digits_kit(networks):
    return Kit(networks)


@pytest.fixture
def kit(request, digits_kit):
    """Networks and digits, and the photos for the members that need them."""
    if not MEMBERS[request.node.callspec.params["name"]].photos:
        return digits_kit
    shared = request.getfixturevalue("shared")
    return Kit(digits_kit.cache, request.getfixturevalue("imagenette_folder"), shared / "models")


def test_names_are_unique_and_the_zoo_is_large_enough():
    kinds = [member.kind for member in MEMBERS.values()]
    assert len(MEMBERS) == COUNT and kinds.count("false") >= 40 and kinds.count("honest") >= 16


@pytest.mark.parametrize(
    ("kind", "believe", "accuracy", "failed"),
    [
        ("false", True, 0.26, "believed"),
        ("false", True, 0.25, None),
        ("false", False, 0.31, "high"),
        ("false", False, 0.29, None),
        ("honest", True, 0.21, None),
        ("honest", True, 0.22, "doubted"),
        ("honest", False, 0.2, "doubted"),
        ("chance", True, 0.1, "believed"),
        ("chance", True, 0.22, None),
        ("chance", False, 0.05, "high"),
    ],
)
def test_what_a_line_misses(kind, believe, accuracy, failed):
    line = {"kind": kind, "believe": believe, "accuracy": accuracy, "truth": 0.2, "error": None}
    assert misses(line) == failed
    assert misses(line | {"error": "RuntimeError: no"}) == "crash"


def test_the_table_tells_of_crashes_and_of_bars():
    about = {"family": "flat", "kind": "false", "truth": 0.1, "seconds": 3.2}
    crashed = about | {"name": "one", "error": "RuntimeError: no", "misses": "crash"}
    numbers = {"n": 120, "clean": 0.9, "believe": True, "accuracy": 0.5, "low": 0.4, "high": 0.6}
    better = about | numbers | {"name": "two", "error": None, "misses": "believed", "alarms": [], "warnings": ["few-images"]}
    text = table([crashed, better])
    assert "RuntimeError: no" in text and "+40.0" in text and "few-images" in text
    assert "1 (one)" in text and "1 (two)" in text


def test_pictures_on_the_grid_stay_within_the_budget():
    images = torch.arange(256).float().view(1, 1, 16, 16) / 255
    eps = 0.003  # less than one level: whoever rounds to the nearest leaves the ball
    moved = (images + eps * (torch.arange(256).view(1, 1, 16, 16) % 3 - 1)).clamp(0, 1)
    for budget, found in ((eps, on_grid(moved, images, eps)), (2 * eps, on_grid(moved, images, 2 * eps))):
        assert (found - images).abs().max() <= budget + 1e-6
        assert (found * 255 - (found * 255).round()).abs().max() < 1e-4
    assert (found - images).abs().max() > 0.9 / 255, "at three quarters of a level, the nearest inside is one away"


def test_a_known_chance_is_one():
    """The model behind "errs at random" cannot be fooled within ε: other classes are farther than twice its reach."""
    kit = Kit(None)
    images, labels = kit.test
    distance = torch.cdist(images.flatten(1), images.flatten(1)) + 1e9 * (labels[:, None] == labels)
    assert distance.min() > 2 * MEMBERS["errs at random"].eps * images[0].numel() ** 0.5


@pytest.mark.parametrize("name", _marked(MEMBERS.values()))
def test_the_verdict_keeps_the_bars(kit, name):
    line = judged(MEMBERS[name], kit)
    failed = line["misses"]
    assert failed is None, f"{BARS[failed]}: truth {line['truth']:.1%}; {line.get('sentence') or line['error']}"


@pytest.mark.parametrize("name", _marked(FALSE))
def test_a_false_member_is_accurate_and_looks_better_than_it_is(kit, name):
    member = MEMBERS[name]
    built = member.make(kit)
    images, labels = kit.judged(member)
    labels = built.relabel(labels)
    undefended = float((built.undefended(images).argmax(1) == labels).float().mean())
    assert float(right(member, kit, images, labels).mean()) > 0.9 * undefended
    if member.naive_fails:
        claimed = naive(member, kit)
        assert claimed is None or claimed > truth(member, kit) + 0.1
