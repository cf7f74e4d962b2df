"""escrime's verdicts on models whose truth is known: one member, one bar. `python -m tests.zoo` tells more."""

import pytest

from tests.zoo.judge import BARS, judged
from tests.zoo.member import Kit
from tests.zoo.members import COUNT, MEMBERS
from tests.zoo.truth import naive, right, truth

pytestmark = pytest.mark.timeout(1800)


def _marked(members):
    for member in members:
        marks = [pytest.mark.long if member.long else pytest.mark.slow]
        yield pytest.param(member.name, marks=marks + ([pytest.mark.shared] if member.photos else []))


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
