"""Findings about the records themselves: each fires on a run made to deserve it, and stays quiet otherwise."""

import pytest

from escrime.report import read_run
from escrime.report.validity import validity


@pytest.fixture
def findings(tmp_path):
    def read(built) -> dict:
        return {check.name: (check.good, check.text) for check in validity(read_run(built.write(tmp_path)))}

    return read


def sweeps(builder, transfer, adaptive, undefended=None):
    built = builder(200).model("net").sweep("net", "none", "white-box", "FGSM", undefended or {0: 1.0, 0.1: 0.5, 0.2: 0.4})
    built.sweep("net", "ppa", "transfer", "FGSM", transfer)
    return built.sweep("net", "ppa", "adaptive", "FGSM", adaptive) if adaptive else built


def test_a_sound_run_has_no_finding(builder, findings):
    found = findings(sweeps(builder, {0: 1.0, 0.1: 0.8}, {0: 1.0, 0.1: 0.5}))
    assert set(found) == {"Verification", "8-bit images", "Threat levels", "Adaptive attacks", "Growing ε*"}
    assert all(good for good, _ in found.values())


def test_a_missing_adaptive_attack_is_named(builder, findings):
    good, text = findings(sweeps(builder, {0: 1.0, 0.1: 0.8}, None))["Threat levels"]
    assert not good and "net, PPA, FGSM" in text


def test_an_adaptive_attack_weaker_than_transfer_is_named(builder, findings):
    good, text = findings(sweeps(builder, {0: 1.0, 0.1: 0.3}, {0: 1.0, 0.1: 0.9}))["Adaptive attacks"]
    assert not good and "ε* = 0.1: 90.0% against 30.0% correct" in text


def test_a_difference_a_few_images_cannot_show_is_not(builder, findings):
    built = builder(20).model("net").sweep("net", "ppa", "transfer", "FGSM", {0: 1.0, 0.1: 0.5})
    assert findings(built.sweep("net", "ppa", "adaptive", "FGSM", {0: 1.0, 0.1: 0.55}))["Adaptive attacks"][0]


def test_accuracy_that_rises_with_eps_is_named(builder, findings):
    falls_then_rises = {0: 1.0, 0.1: 0.4, 0.2: 0.3, 0.3: 0.6}
    good, text = findings(sweeps(builder, {0: 1.0, 0.1: 0.8}, {0: 1.0, 0.1: 0.5}, falls_then_rises))["Growing ε*"]
    assert not good and "net, undefended, white-box, FGSM (30.0% at 0.2 then 60.0% at 0.3)" in text


def test_a_rise_of_noise_is_not(builder, findings):
    nearly_flat = {0: 1.0, 0.1: 0.40, 0.2: 0.42}
    assert findings(sweeps(builder, {0: 1.0, 0.1: 0.8}, {0: 1.0, 0.1: 0.5}, nearly_flat))["Growing ε*"][0]


def test_examples_lost_in_8_bits_are_counted(builder, findings):
    built = sweeps(builder, {0: 1.0, 0.1: 0.8}, {0: 1.0, 0.1: 0.5})
    for part in built.parts:
        part["survives_8bit"] = [False] * 200
    good, text = findings(built)["8-bit images"]
    assert not good and "0 of 360 successful" in text  # 100 + 120 undefended, 40 transfer, 100 adaptive
