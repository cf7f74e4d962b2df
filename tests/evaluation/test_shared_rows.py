"""An examination by several processes finds what one process finds, and each of them does its share of the passes."""

import pickle

import pandas as pd
import pytest
import torch
from examined_in_processes import evaluate, work

from escrime.distributed import Processes
from escrime.evaluation.pipeline import EXAMINATION

pytestmark = pytest.mark.slow

SAME = ["robust", "robust, in time", "masked", "randomized"]


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """What each of three processes found."""
    place = tmp_path_factory.mktemp("three")
    torch.multiprocessing.spawn(work, args=(3, place), nprocs=3)
    return [pickle.loads((place / f"found-{rank}.pickle").read_bytes()) for rank in range(3)]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    place = tmp_path_factory.mktemp("one")
    return {name: evaluate(name, place / name, Processes(torch.device("cpu"))) for name in SAME}


def rows(found):
    keys = ["defense", "threat", "attack", "eps", "image"]
    return found["records"].sort_values(keys, ignore_index=True)


@pytest.mark.parametrize("name", SAME)
def test_the_rows_and_the_findings_of_one_process(name, one, three):
    for found in three:
        pd.testing.assert_frame_equal(rows(one[name]), rows(found[name]), check_exact=True)
        assert found[name]["examined"] == one[name]["examined"]


def test_an_attack_was_called_for(one):
    assert any(attempts for attempts, _ in one["masked"]["examined"].values())


@pytest.mark.parametrize("name", SAME)
def test_each_shows_the_model_its_share(name, one, three):
    alone, seen = one[name]["seen"], [found[name]["seen"] for found in three]
    assert max(seen) < 0.8 * alone, "what all do alike is the first look and the checks of the input"


def test_without_time_all_come_to_the_end(three):
    assert three[0]["no time"].keys() == three[1]["no time"].keys() == three[2]["no time"].keys()


def test_an_attack_that_fails_in_one_process_has_failed(three):
    first, *others = (found["attack fails"]["examined"] for found in three)
    assert all(other == first for other in others)
    assert "ValueError: odd" in str(first)


@pytest.mark.parametrize("name", ["attack refused", "check refused", "other check refused"])
def test_bad_input_in_one_process_ends_them_all(name, three):
    assert [found[name] for found in three] == 3 * [{"error": "bad input"}]


def test_an_attack_that_one_process_has_no_time_for_is_cut_short(three):
    cuts = [found["attack out of time"]["cut"] for found in three]
    assert cuts == 3 * cuts[:1] and "APGD-CE" in cuts[0][0]


def test_a_check_that_one_process_has_no_time_for_is_cut_short(three):
    cuts = [found["check out of time"]["cut"] for found in three]
    assert cuts == 3 * cuts[:1] and EXAMINATION in cuts[0][0]


def test_the_checks_of_the_input_are_not_made_by_all(three):
    """What each shows its model beside the shared attacks: none of them the whole."""
    assert [found["robust"]["fed"] for found in three] == [1, 0, 0]


def test_where_one_process_is_late_the_others_go_on_alone(one, three):
    assert all(found["late"]["examined"] == one["robust, in time"]["examined"] for found in three)  # which is never late
