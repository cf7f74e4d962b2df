"""Models, pictures, experiments and options as nobody writes them, the same ones each time: one sentence each."""

import io
import json
import struct
from functools import partial

import pytest
from hypothesis import strategies as st
from PIL import Image

import escrime
from escrime.commands.run.files import SHIPPED
from escrime.models import save_weights
from escrime.report.markdown import inline
from tests.fuzz.conftest import FEW, MANY, MIDDLE, damaged, nasty, tried

SIZES = [
    FEW,
    pytest.param(MIDDLE, marks=pytest.mark.slow),
    pytest.param(MANY, marks=[pytest.mark.long, pytest.mark.timeout(1800)]),
]
SIZED = pytest.mark.parametrize("examples", SIZES)
NUMBERS = st.one_of(
    st.integers(), st.floats(), st.sampled_from(["1e999999999", "-0", "8/255", "nan", "inf", "1/0", "9" * 5000, "1_0", "", "١"])
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), nasty),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """The bytes of honest weights."""
    path = tmp_path_factory.mktemp("network") / "w.safetensors"
    save_weights(escrime.build("lenet", 3, seed=0), path, {"classes": ["ant", "bee", "cat"], "size": 8})
    return path.read_bytes()


def picture(form: str = "PNG", **settings) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((9, 8), 60).convert("RGB").save(buffer, form, **settings)
    return buffer.getvalue()


@pytest.fixture
def ready(place, network):
    (place.here / "w.safetensors").write_bytes(network)
    (place.here / "a.png").write_bytes(picture())
    return place


@pytest.fixture
def undrawn(monkeypatch):
    """No picture of both side by side, which takes longer than all the rest."""
    monkeypatch.setattr("escrime.commands.attack.photos.draw_photo", lambda path, *_: path.write_bytes(b"drawn"))


MODEL = ("--model", "lenet@w.safetensors", "--device", "cpu", "--out", "out")


@SIZED
@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"])
def test_pictures(form, examples, ready, undrawn, monkeypatch):
    def check(content):
        (ready.here / "a.png").write_bytes(content)
        ready.call(monkeypatch, "attack", "a.png", *MODEL, "--eps", "1/255")

    tried(damaged(picture(form)), check, examples, 1 / 6)


@SIZED
def test_budgets(examples, ready, monkeypatch):
    def check(text):
        code, _, said = ready.call(monkeypatch, "attack", "none.png", *MODEL, f"--eps={text}")
        assert code == 2 and ("ε = " in said or "does not exist" in said)

    tried(
        st.one_of(NUMBERS.map(str), nasty, st.from_regex(r"[+-]?[0-9]{1,30}([./e][+-]?[0-9]{1,30})?", fullmatch=True)),
        check,
        examples,
    )


@SIZED
def test_specifications(examples, ready, monkeypatch):
    kinds = ["lenet@", "resnet18@", "torchvision:", "", "hf:./", "a.onnx", "a.pt2", "a.py:", "https:/", "@", "timm:local-dir:"]

    def check(spec):
        assert ready.call(monkeypatch, "attack", "a.png", f"--model={spec}", "--device", "cpu", "--out", "out")[0] == 2

    words = st.one_of(nasty, st.sampled_from(["w.safetensors.", ".", "..", "/", "/dev/zero", "x" * 300, "a/" * 2500]))
    tried(st.tuples(st.sampled_from(kinds), words).map("".join), check, examples)


def header_of(network: bytes) -> tuple[dict, bytes]:
    (length,) = struct.unpack("<Q", network[:8])
    return json.loads(network[8 : 8 + length]), network[8 + length :]


def with_header(header: bytes, rest: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + rest


@SIZED
def test_weights(examples, ready, network, undrawn, monkeypatch):
    """Bytes of the header changed, its length, its tensors' types, shapes and places, its metadata."""
    header, rest = header_of(network)
    names = st.sampled_from([name for name in header if name != "__metadata__"])
    fields = st.one_of(
        st.tuples(
            st.just("dtype"),
            st.sampled_from(["F64", "F16", "BF16", "I64", "I8", "BOOL", "F8_E4M3", "F8_E8M0", "C64", "F4", ""]),
        ),
        st.tuples(st.just("shape"), st.lists(st.integers(-1, 2**62), max_size=5)),
        st.tuples(st.just("data_offsets"), st.lists(st.integers(0, 2**63), min_size=2, max_size=2)),
    )
    changed = st.tuples(names, fields).map(
        lambda found: with_header(json.dumps(header | {found[0]: header[found[0]] | dict([found[1]])}).encode(), rest)
    )
    facts = st.dictionaries(st.sampled_from(["classes", "size", "wnids", "mean", "std"]), VALUES)
    told = facts.map(
        lambda facts: with_header(json.dumps(header | {"__metadata__": {"escrime": json.dumps(facts)}}).encode(), rest)
    )
    raw = st.dictionaries(st.sampled_from(["mean", "std", "escrime", "format"]), nasty)
    entries = raw.map(lambda entries: with_header(json.dumps(header | {"__metadata__": entries}).encode(), rest))
    bytes_ = damaged(json.dumps(header).encode()).map(lambda text: with_header(text, rest))
    lengths = st.integers(0, 2**64 - 1).map(lambda length: struct.pack("<Q", length) + network[8:])

    def check(content):
        (ready.here / "w.safetensors").write_bytes(content)
        ready.call(monkeypatch, "attack", "a.png", *MODEL, "--eps", "1/255", "--size", "8")

    tried(st.one_of(changed, told, entries, bytes_, lengths), check, examples)


@SIZED
def test_pickled_weights(examples, ready, monkeypatch):
    import torch

    buffer = io.BytesIO()
    torch.save({"fc.weight": torch.ones(3, 4), "n": 3}, buffer)

    def check(content):
        (ready.here / "w.pt").write_bytes(content)
        assert ready.call(monkeypatch, "attack", "a.png", "--model", "lenet@w.pt", "--device", "cpu", "--out", "out")[0] == 2

    tried(damaged(buffer.getvalue()), check, examples)


@SIZED
def test_class_names(examples, ready, network, monkeypatch):
    """Of a model, to a terminal and into files; of folders."""
    header, rest = header_of(network)

    def check(found):
        classes, folders = found
        told = json.dumps({"classes": classes, "size": 8})
        content = with_header(json.dumps(header | {"__metadata__": {"escrime": told}}).encode(), rest)
        (ready.here / "w.safetensors").write_bytes(content)
        code, said, _ = ready.call(monkeypatch, "attack", "a.png", *MODEL, "--eps", "1/255")
        assert code == 0 and json.loads(said)["before"] in classes
        folder = ready.here / "out" / f"{len(list((ready.here / 'out').iterdir()))} folders"
        for name in folders:
            (folder / name).mkdir(parents=True)
            (folder / name / "0.png").write_bytes(picture())
        if folders:  # none of which the model knows: the sentence names them
            assert ready.call(monkeypatch, "evaluate", "--data", folder, *MODEL[:-1], folder / "o", "--eps", "0.1")[0] == 2
        for name in classes:
            text = inline(name)
            assert "\n" not in text and not set(text) & set("\x1b\x07\r\u202e")

    usual = st.lists(nasty, min_size=3, max_size=3)
    names = nasty.filter(lambda name: name not in ("", ".", "..") and len(name.encode()) < 200)
    tried(st.tuples(usual, st.lists(names, max_size=2, unique=True)), check, examples, 1 / 10)


@SIZED
def test_experiments(examples, ready, monkeypatch):
    """The shipped experiment with a value replaced, a line moved, bytes changed; nothing of it is run."""
    for part in ("estimate.announce", "stages.run_stages", "outcome.show_outcome"):
        monkeypatch.setattr(f"escrime.commands.run.{part}", lambda run: None)
    text = (SHIPPED / "digits.toml").read_text(encoding="utf-8")
    lines = text.splitlines()
    assigned = [row for row, line in enumerate(lines) if "=" in line and not line.startswith("#")]
    written = st.one_of(NUMBERS.map(str), VALUES.map(partial(json.dumps, ensure_ascii=False)), nasty.map(json.dumps), nasty)
    written |= st.sampled_from(["[" * 3000, "{a = " * 300, "1979-05-27", "'''", '"\\u0000"', '"../../x"', '"/"', "true"])

    def replaced(found):
        row, value = found
        return "\n".join([*lines[:row], lines[row].partition("=")[0] + "= " + value, *lines[row + 1 :]]).encode(
            errors="replace"
        )

    def moved(found):
        row, to = found
        rest = [*lines[:row], *lines[row + 1 :]]
        return "\n".join([*rest[:to], lines[row], *rest[to:]]).encode()

    def check(content):
        (ready.here / "x.toml").write_bytes(content)
        ready.call(monkeypatch, "run", "x.toml", "--out", "out", "--device", "cpu")

    rows = st.integers(0, len(lines) - 1)
    values, moves = st.tuples(st.sampled_from(assigned), written).map(replaced), st.tuples(rows, rows).map(moved)
    tried(st.one_of(values, moves, damaged(text.encode())), check, examples, 2)


@SIZED
def test_settings(examples, ready, monkeypatch):
    """--set and --goal of any text."""
    names = st.sampled_from(["epochs", "batch_size", "schedule", "augment", "crop_size", "learning_rate", "keep", "x", ""])

    def check(found):
        name, value = found
        words = ("train", "lenet", "--data", "nothing", "--out", "out", "--device", "cpu", "--set", f"{name}={value}")
        assert ready.call(monkeypatch, *words)[0] == 2

    tried(st.tuples(names, st.one_of(NUMBERS.map(str), VALUES.map(json.dumps), nasty, st.just("[" * 5000))), check, examples)
