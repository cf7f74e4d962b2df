"""Odd values that were called defects of escrime, or hung: one sentence each."""

import json
import struct
import time

import pytest
from PIL import Image

from escrime import EscrimeError, build, load_model
from escrime.attacks import PGD
from escrime.budgets import epsilon
from escrime.commands.attack.photos import attack_photos
from escrime.commands.evaluate.request import Request
from escrime.commands.run.files import read_experiment
from escrime.commands.run.schema import check_experiment
from escrime.commands.shared.settings import parse_settings
from escrime.commands.train.train import _noted
from escrime.evaluation.shared_copies import Grid
from escrime.models import save_weights
from escrime.models.loading.weights import read_metadata
from escrime.training import TrainSettings
from escrime.validation import channel_numbers

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize(
    "text",
    ["1e999999999", "-1e999999999", "1/1e999999999", "9" * 10**6, "1/" + "9" * 10**6, "1e" + "9" * 90, 10**5000, -(10**5000)],
    ids=map(str, range(8)),
)
def test_no_budget_takes_for_ever(text):
    start = time.monotonic()
    with pytest.raises(EscrimeError) as said:
        epsilon(text)
    assert time.monotonic() - start < 1 and len(str(said.value)) < 300 and "\n" not in str(said.value)


def test_budgets_are_what_they_were():
    assert epsilon("8/255") == 8 / 255 and epsilon(" 0.03 ") == 0.03 and epsilon("1e-3") == 0.001 and epsilon(".5") == 0.5
    assert epsilon("1e-999999999") == 0 and epsilon("0.1") == float("0.1")


def with_metadata(path, metadata):
    """Weights whose metadata are replaced, whatever they hold."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length]) | {"__metadata__": metadata}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


DEEP = "[" * 10**5 + "]" * 10**5


@pytest.mark.parametrize(
    "metadata", [{"escrime": text} for text in ("[1]", "7", '"a"', "null", DEEP, "{")] + [{"escrime": 5}, [1]]
)
def test_metadata_of_another_type(metadata, tmp_path):
    save_weights(build("lenet", 3, seed=0), tmp_path / "w.safetensors")
    with_metadata(tmp_path / "w.safetensors", metadata)
    for call in (lambda: read_metadata(tmp_path / "w.safetensors"), lambda: load_model(f"lenet@{tmp_path / 'w.safetensors'}")):
        with pytest.raises(EscrimeError, match="not a complete safetensors file"):
            call()


@pytest.mark.parametrize(
    "metadata", [{"mean": DEEP, "std": "1"}, {"mean": "9" * 5000, "std": "[[1]]"}, {"mean": "1e999", "std": "1"}], ids="abc"
)
def test_a_normalization_of_another_type(metadata, tmp_path):
    save_weights(build("lenet", 3, seed=0).network, tmp_path / "w.safetensors")
    with_metadata(tmp_path / "w.safetensors", metadata)
    with pytest.raises(EscrimeError, match="mean = ") as said:
        load_model(f"lenet@{tmp_path / 'w.safetensors'}")
    assert len(str(said.value)) < 300


@pytest.mark.parametrize("size", ["big", -5, True, [8, 9], 0, None])
def test_a_size_of_another_type_is_no_size(size, tmp_path):
    save_weights(build("lenet", 3, seed=0), tmp_path / "w.safetensors", {"size": size, "classes": {"a": 1}})
    found = load_model(f"lenet@{tmp_path / 'w.safetensors'}")
    assert found.size == load_model_size() and found.classes is None


def load_model_size():
    from escrime.models import architecture

    return architecture("lenet").size


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000 + "]" * 5000,
        "a = " + "{b = " * 2000 + "1" + "}" * 2000,
        ".".join("a" * 300000) + " = 1",
        "x = {" + ".".join("a" * 300000) + " = 1}",
        "a = " + "[" * 40 + "]" * 40,
        "limit = " + "9" * 5000,
        "a = \x00",
    ],
    ids=map(str, range(7)),
)
def test_deep_or_endless_toml(text, tmp_path):
    (tmp_path / "x.toml").write_text(text)
    start = time.monotonic()
    with pytest.raises(EscrimeError, match="x.toml") as said:
        read_experiment(str(tmp_path / "x.toml"))
    assert time.monotonic() - start < 5 and len(str(said.value)) < 400


def test_an_endless_value_is_not_repeated(tmp_path):
    (tmp_path / "x.toml").write_text(f'title = 5\nheadline_eps = "{"9" * 10**5}"\n')
    with pytest.raises(EscrimeError) as said:
        check_experiment(read_experiment(str(tmp_path / "x.toml"))[1], "x.toml")
    assert len(str(said.value)) < 1500


def test_settings_of_any_text():
    assert parse_settings([f"a={DEEP}", "b=" + "9" * 5000, "c=.5"])["c"] == 0.5


@pytest.mark.parametrize("stem", ["x" * 250, "é" * 125, "x" * 220])
def test_a_photo_with_a_long_name_is_attacked(stem, tmp_path):
    """Its files have as much of the name as a file may; two such photos do not share them."""
    save_weights(build("lenet", 3, seed=0), tmp_path / "w.safetensors", {"size": 8})
    photos = [tmp_path / f"{stem[: len(stem) - cut]}{end}.png" for cut, end in ((0, ""), (1, "y"))]
    for photo in photos:
        Image.new("RGB", (8, 8), "gray").save(photo)
    for _ in range(2):  # and again
        found = list(attack_photos(photos, f"lenet@{tmp_path / 'w.safetensors'}", tmp_path / "out", eps=1.0))
        assert [result.photo for result in found] == list(map(str, photos))
        made = [name for result in found for name in (result.adversarial, result.side_by_side) if name]
        assert len(set(made)) == len(made) and {path.name for path in (tmp_path / "out").glob("*.png")} == {
            name.rpartition("/")[2] for name in made
        }


@pytest.mark.parametrize("text", ["1e999999999", "1e-999999999", "-1e999999999", "9" * 10**5])
def test_no_mean_takes_for_ever(text):
    start = time.monotonic()
    try:
        assert channel_numbers("--mean", text) == (0.0,)
    except EscrimeError as error:
        assert "--mean" in str(error)
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("number", [2**63, 10**400, 16**20000], ids=["2^63", "10^400", "more digits than are printed"])
def test_no_setting_is_an_enormous_number(number):
    """A float holds none, or a manifest of it cannot be read again."""
    raw = read_experiment("digits")[1]
    raw["training"]["epochs"] = number
    calls = [
        lambda: check_experiment(raw, "x.toml"),
        lambda: TrainSettings(epochs=number),
        lambda: (
            TrainSettings(learning_rate=number, schedule="constant") if number > 2**63 else TrainSettings(batch_size=number)
        ),
        lambda: Request("m", "d", (0.1,), limit=number),
        lambda: Grid(0.1, samples=(number,)),
        lambda: PGD(0.1, steps=number),
    ]
    for call in calls:
        with pytest.raises(EscrimeError) as said:
            call()
        assert len(str(said.value)) < 300


def test_a_file_may_name_many_tensors_but_not_a_million(tmp_path, monkeypatch):
    path = save_weights(build("lenet", 3, seed=0), tmp_path / "w.safetensors")
    monkeypatch.setattr("escrime.models.loading.weights.MOST_TENSORS", 3)
    with pytest.raises(EscrimeError, match=r"w\.safetensors .* tensors, more than the 3 "):
        load_model(f"lenet@{path}")


def test_facts_of_a_training_that_nobody_can_read_are_none(tmp_path):
    for content in ("[" * 100_000, '{"settings": ' * 100_000, "[]", "null", "\ud800".encode("utf-8", "surrogatepass")):
        path = tmp_path / "training.json"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        assert _noted(path, ["settings"]) == {}
