"""`escrime attack`: pictures that fool the model as files, and nothing half-written where they cannot."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from escrime import EscrimeError, load_model
from escrime.cli import app
from escrime.commands.attack import photos
from escrime.commands.attack.folder import Result
from escrime.commands.attack.full_size import FullSize
from escrime.commands.attack.photos import attack_photos
from escrime.commands.attack.quantized import whole_eps, whole_levels
from escrime.commands.attack.words import sentence, summary
from escrime.data import read_image
from escrime.files import locked


def call(*arguments):
    result = CliRunner().invoke(app, ["attack", *map(str, arguments), "--device", "cpu"])
    if isinstance(result.exception, EscrimeError):
        raise result.exception
    return result


def says(weights, path):
    found = load_model(weights)
    pixels = torch.from_numpy(np.array(read_image(path, 8)))[None].float() / 255
    return found.classes[int(found.model(pixels).argmax())]


def levels_between(first, second):
    return int(np.abs(read_image(first, 8).astype(int) - read_image(second, 8).astype(int)).max())


@pytest.mark.slow
def test_the_fewest_levels_that_fool_a_file(weights, pictures, tmp_path):
    photo = pictures / "ant" / "0.png"
    result = call(photo, "--model", weights, "--out", tmp_path)
    found = json.loads(result.stdout)
    assert found["fooled"] and found["before"] == "ant" != found["after"]
    assert says(weights, found["adversarial"]) == found["after"] and says(weights, photo) == "ant"
    assert levels_between(photo, found["adversarial"]) == found["levels"] == round(found["eps"] * 255)
    fewer = call(photo, "--model", weights, "--eps", f"{found['levels'] - 1}/255", "--out", tmp_path / "fewer")
    missed = json.loads(fewer.stdout)
    assert not missed["fooled"] and missed["after"] == "ant" and "no change within ε was found that works" in fewer.stderr
    with Image.open(found["side_by_side"]) as picture:
        assert picture.width > 2 * picture.height > 200
    lines = (tmp_path / "attacks.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [found]


def test_a_folder_towards_a_target(weights, pictures, tmp_path):
    few = tmp_path / "few"
    for name in ("ant", "bee"):
        (few / name).mkdir(parents=True)
        for number in range(3):
            (few / name / f"{number}.png").write_bytes((pictures / name / f"{number}.png").read_bytes())
    photos = (few, pictures / "cat" / "0.png")
    result = call(*photos, "--model", weights, "--target", "Bee", "--eps", "60/255", "--out", tmp_path / "out")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    made = [line["adversarial"] for line in lines if line["adversarial"]]
    assert len(lines) == 7 and len(made) == len(set(made))  # photos of the same name do not share a file
    others = [line for line in lines if line["before"] != "bee"]
    assert others and all(line["fooled"] and line["after"] == "bee" for line in others)
    assert all(says(weights, line["adversarial"]) == "bee" for line in others[:5])
    assert all(not line["fooled"] and line["adversarial"] is None for line in lines if line["before"] == "bee")
    assert "it is the target already" in result.stderr


def test_what_else_is_attacked_does_not_change_a_picture(weights, pictures, tmp_path):
    """Photos of one name in several folders get numbered files, not other noise."""
    photos = [pictures / name / "1.png" for name in ("ant", "cat")]
    more = ("--model", weights, "--eps", "20/255", "--seed", "3")
    call(photos[1], *more, "--out", tmp_path / "alone")
    call(*photos, *more, "--out", tmp_path / "both")
    alone, both = (read_image(tmp_path / name, 8) for name in ("alone/1-adversarial.png", "both/1-2-adversarial.png"))
    assert np.array_equal(alone, both)


EPS = ("--eps", "60/255")


@pytest.mark.parametrize(("attack", "more"), [("FGSM", ()), ("RandomPoints,Square", EPS), ("DGSM", ("--target", "bee", *EPS))])
def test_attacks_by_name(attack, more, pictures, weights, tmp_path):
    result = call(pictures / "cat" / "1.png", "--model", weights, "--out", tmp_path / "out", "--attack", attack, *more)
    found = json.loads(result.stdout)
    assert found["fooled"] and says(weights, found["adversarial"]) == found["after"] != "cat"


@pytest.mark.parametrize("kind", [pytest.param("scores", marks=pytest.mark.slow), "labels"])
def test_black_boxes_too(kind, pictures, weights, tmp_path):
    path = weights.partition("@")[2]
    answer = "z" if kind == "scores" else "z.argmax(1)"
    (tmp_path / "mine.py").write_text(
        "import torch, escrime\n"
        "class Box:\n"
        "    classes, size = ['ant', 'bee', 'cat'], 8\n"
        f"    net = escrime.load_model('lenet@{path}').model\n"
        "    def __call__(self, x):\n"
        "        with torch.no_grad():\n"
        "            z = self.net(torch.from_numpy(x))\n"
        f"        return {answer}\n"
    )
    result = call(pictures / "cat" / "1.png", "--model", f"{tmp_path}/mine.py:Box", "--out", tmp_path / "out")
    found = json.loads(result.stdout)
    assert found["fooled"] and says(weights, found["adversarial"]) == found["after"] != "cat"
    with pytest.raises(EscrimeError, match=f"'PGD' needs gradients, and the model gives {kind} only"):
        call(pictures / "cat" / "1.png", "--model", f"{tmp_path}/mine.py:Box", "--out", tmp_path / "other", "--attack", "PGD")


def test_rounding_keeps_the_budget():
    image = (torch.randint(0, 256, (1, 3, 8, 8)).float() / 255).clamp(0, 1)
    moved = (image + 0.1 * (torch.rand_like(image) - 0.5)).clamp(0, 1)
    for levels in (1, 3, 12):
        found = whole_levels(moved, image, levels)
        assert (found * 255 - (found * 255).round()).abs().max() < 1e-4
        assert ((found - image).abs() * 255).max() <= levels + 1e-3 and found.min() >= 0 and found.max() <= 1
    assert [whole_eps(eps) for eps in (1 / 255, 4 / 255, 0.1, 1.0)] == [1, 4, 25, 255]


@pytest.mark.parametrize(
    "photo, more, said",
    [
        ("nothing.png", (), "nothing.png does not exist"),
        (".", (), "holds no images"),
        ("zero.png", (), "the file is empty"),
        ("cut.png", (), "not a readable image"),
        ("text.png", (), "no image format"),
        ("good.png", ("--eps", "0.001"), "less than one of a picture's 256 gray levels"),
        ("good.png", ("--eps", "-1"), "negative"),
        ("good.png", ("--target", "bea"), "Did you mean 'bee'"),
        ("good.png", ("--target", "7"), "a number from 0 to 2"),
        ("good.png", ("--model", "lenet@no.safetensors"), "does not exist"),
        ("good.png", ("--size", "0"), "size"),
        ("good.png", ("--attack", "PDG"), "attack 'PDG' is unknown.* Did you mean 'PGD'"),
        ("good.png", ("--attack", "DGSM"), "'DGSM' needs a class to reach; name it with --target"),
        ("good.png", ("--attack", "CarliniWagner"), "CarliniWagner works in l2 only"),
        ("good.png", ("--attack", "UniversalPGD"), "'UniversalPGD' is fitted on many images and attacks others"),
    ],
)
def test_wrong_input_writes_nothing(photo, more, said, weights, pictures, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    if photo != ".":
        content = (pictures / "ant" / "0.png").read_bytes()
        (folder / "good.png").write_bytes(content)
        (folder / "zero.png").write_bytes(b"")
        (folder / "cut.png").write_bytes(content[:-60])
        (folder / "text.png").write_text("no picture")
    arguments = [folder / photo, "--model", weights, "--out", tmp_path / "out", *more]
    with pytest.raises(EscrimeError, match=said):
        call(*arguments)
    assert not (tmp_path / "out").exists()


def test_pictures_of_other_formats_are_named(weights, pictures, tmp_path):
    """A folder of a phone's photos: the one that can be read is attacked, the other one is told of."""
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "IMG_1.HEIC").write_bytes(b"\x00\x00\x00\x18ftypheic")
    with pytest.raises(EscrimeError, match="holds no images .*, only IMG_1.HEIC: .heic is a format that is not read"):
        list(attack_photos([folder], weights, tmp_path / "out"))
    (folder / "0.png").write_bytes((pictures / "ant" / "0.png").read_bytes())
    with pytest.warns(UserWarning, match="1 beside the images in .* left out .IMG_1.HEIC: .heic is a format"):
        results = list(attack_photos([folder], weights, tmp_path / "out", eps=20 / 255))
    assert [result.photo for result in results] == [str(folder / "0.png")]


def test_a_link_to_nothing_stops_no_folder(weights, pictures, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "0.png").write_bytes((pictures / "ant" / "0.png").read_bytes())
    (folder / "z.png").symlink_to("nowhere.png")
    with pytest.warns(UserWarning, match="z.png: a link to nothing"):
        results = list(attack_photos([folder], weights, tmp_path / "out", eps=20 / 255))
    assert [result.photo for result in results] == [str(folder / "0.png")]


def test_no_photo_takes_the_files_of_another(weights, pictures, tmp_path):
    """Not within a call, nor of an earlier one, whose lines stay; a photo that has changed replaces its own."""
    folders, out = [tmp_path / name for name in "abcd"], tmp_path / "out"
    photos = [folder / name for folder, name in zip(folders, ("0.png", "0.png", "0-2.png", "0.png"))]
    content = {kind: (pictures / kind / "0.png").read_bytes() for kind in ("ant", "bee", "cat")}
    for photo, kind in zip(photos, ("ant", "cat", "ant", "cat")):
        photo.parent.mkdir()
        photo.write_bytes(content[kind])
    more = ("--model", weights, "--eps", "60/255", "--target", "bee", "--out", out)
    call(photos[0], photos[1], photos[2], photos[0], *more)
    call(photos[3], *more)
    call(photos[1], *more)
    lines = {line["photo"]: line for line in map(json.loads, (out / "attacks.jsonl").read_text().splitlines())}
    assert list(lines) == list(map(str, photos))
    made = [lines[str(photo)]["adversarial"] for photo in photos]
    assert [path.removeprefix(f"{out}/") for path in made] == [
        f"{name}-adversarial.png" for name in ("0", "0-2", "0-2-2", "0-3")
    ]
    assert all(says(weights, path) == lines[str(photo)]["after"] for photo, path in zip(photos, made))
    photos[1].write_bytes(content["bee"])  # the target already: nothing to draw
    call(photos[1], *more)
    assert sorted(path.name[: -len("-adversarial.png")] for path in out.glob("*-adversarial.png")) == ["0", "0-2-2", "0-3"]
    photos[1].write_bytes(content["cat"])
    call(photos[1], *more)
    assert (out / "0-2-adversarial.png").exists() and (out / "0-2-side-by-side.png").exists()


def test_two_photos_of_one_relative_name_are_two(weights, pictures, tmp_path, monkeypatch):
    for kind in ("ant", "cat"):
        monkeypatch.chdir(pictures / kind)
        call("0.png", "--model", weights, "--eps", "20/255", "--out", tmp_path / "out")
    lines = list(map(json.loads, (tmp_path / "out" / "attacks.jsonl").read_text().splitlines()))
    assert [line["photo"] for line in lines] == [str(pictures / kind / "0.png") for kind in ("ant", "cat")]
    assert len(list((tmp_path / "out").glob("*-adversarial.png"))) == 2


def test_a_second_attack_in_the_folder_is_refused(weights, pictures, tmp_path):
    """Each would write the list of all photos without those of the other."""
    with locked(tmp_path, "wait"), pytest.raises(EscrimeError, match="another escrime run is working in"):
        call(pictures / "ant" / "0.png", "--model", weights, "--eps", "20/255", "--out", tmp_path)


@pytest.mark.parametrize("pictures_done", [0, 1])
def test_killed_between_its_files_it_is_made_again(pictures_done, weights, pictures, tmp_path, monkeypatch):
    """Whichever of a photo's files have their names already, the next call takes them for its own."""
    photo, out = pictures / "ant" / "0.png", tmp_path / "out"
    replace, seen = os.replace, []

    class Killed(BaseException):
        pass

    def replaced(source, target):
        seen.append(target)
        if len(seen) > 2 + pictures_done:  # the settings and the line come first
            raise Killed
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("escrime.files.os.replace", replaced)
        list(attack_photos([photo], weights, out, eps=20 / 255))
    assert len(list(out.glob("*.png"))) == pictures_done
    (result,) = attack_photos([photo], weights, out, eps=20 / 255)
    assert says(weights, result.adversarial) == result.after


@pytest.mark.parametrize("name", ["x-adversarial.png", "x-side-by-side.png", "attacks.jsonl"])
def test_a_file_of_the_users_is_not_overwritten(name, weights, pictures, tmp_path):
    (tmp_path / "x.png").write_bytes((pictures / "ant" / "0.png").read_bytes())
    (tmp_path / name).write_text("mine")
    with pytest.raises(EscrimeError, match=f"{name} .*another folder with --out"):
        call(tmp_path / "x.png", "--model", weights, "--out", tmp_path)
    assert (tmp_path / name).read_text() == "mine" and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "body, more, said",
    [
        ("x[:, :, 8].flatten(1)", (), r"mine.py:Box fails on an image of 3 × 8 × 8 .*IndexError.*--size"),
        ("{'scores': x.flatten(1)}", (), "returned a dict .*logits"),
        ("x.flatten(1)[:, :4]", (), "answers with 4 classes, but names 3 .*one name for each"),
        ("x.flatten(1)[:, :3]", ("--target", "²"), "'²' is no class"),
    ],
)
def test_an_unsuitable_model_is_one_sentence(body, more, said, pictures, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "class Box(torch.nn.Module):\n"
        "    classes, size = ['ant', 'bee', 'cat'], 8\n"
        f"    def forward(self, x):\n        return {body}\n"
    )
    with pytest.raises(EscrimeError, match=said):
        call(pictures / "ant" / "0.png", "--model", f"{tmp_path}/mine.py:Box", "--out", tmp_path / "out", *more)
    assert not (tmp_path / "out").exists()


def test_a_photo_whose_name_is_not_utf8_is_refused(weights, pictures, tmp_path):
    bad = tmp_path / os.fsdecode(b"caf\xe9.png")
    try:
        bad.write_bytes((pictures / "ant" / "0.png").read_bytes())
    except OSError:
        pytest.skip("this file system knows UTF-8 only")
    for photo in (bad, tmp_path):
        with pytest.raises(EscrimeError, match=r"caf\\xe9.png' is not UTF-8"):
            list(attack_photos([photo], weights, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_what_a_model_prints_is_not_in_the_json(weights, pictures, tmp_path):
    path = weights.partition("@")[2]
    (tmp_path / "mine.py").write_text(
        "import torch, escrime\n"
        "print('loading weights')\n"
        "class Loud(torch.nn.Module):\n"
        "    classes, size = ['ant', 'bee', 'cat'], 8\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        f"        self.net = escrime.load_model('lenet@{path}').model\n"
        "    def forward(self, x):\n"
        "        print('forward')\n"
        "        return self.net(x)\n"
    )
    result = call(
        pictures / "ant" / "0.png", "--model", f"{tmp_path}/mine.py:Loud", "--out", tmp_path / "out", "--eps", "9/255"
    )
    assert json.loads(result.stdout)["before"] == "ant"
    assert "loading weights" in result.stderr and "forward" in result.stderr


@pytest.mark.slow
def test_what_a_library_in_c_prints_is_not_in_the_json(weights, pictures, tmp_path):
    """Not even what it writes so late that it would come after the block: C keeps what goes into a pipe for a while."""
    path = weights.partition("@")[2]
    (tmp_path / "mine.py").write_text(
        "import ctypes, os, escrime\n"
        "def load():\n"
        "    os.write(1, b'at once\\n')\n"
        "    ctypes.CDLL(None).puts(b'kept for a while')\n"
        f"    model = escrime.load_model('lenet@{path}').model\n"
        "    model.classes, model.size = ['ant', 'bee', 'cat'], 8\n"
        "    return model\n"
    )
    command = [sys.executable, "-m", "escrime", "attack", pictures / "ant" / "0.png", "--model", f"{tmp_path}/mine.py:load"]
    done = subprocess.run([*command, "--out", tmp_path / "out", "--eps", "9/255"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["before"] == "ant"
    assert "at once" in done.stderr and "kept for a while" in done.stderr


@pytest.mark.parametrize("name", ["attacks.jsonl", ".lock", "0-adversarial.png", "0-side-by-side.png"])
def test_a_link_where_it_would_write_is_refused(weights, pictures, tmp_path, name):
    (tmp_path / "keep").write_text("keep")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).symlink_to(tmp_path / "keep")
    with pytest.raises(EscrimeError, match=f"{name} is a link"):
        list(attack_photos([pictures / "ant" / "0.png"], weights, tmp_path / "out", eps=8 / 255, size=8))
    assert (tmp_path / "keep").read_text() == "keep"


@pytest.fixture
def large(pictures, tmp_path):
    """A photo of 40 × 29 pixels, of which a model of 8 sees the middle."""
    path = tmp_path / "large.png"
    with Image.open(pictures / "ant" / "0.png") as small:
        small.resize((29, 29), Image.Resampling.BICUBIC).resize((40, 29)).save(path)
    return path


def test_a_photo_keeps_its_size_and_fools_as_a_file(weights, large, tmp_path):
    found = json.loads(call(large, "--model", weights, "--out", tmp_path / "out", "--full-size", *EPS).stdout)
    assert found["fooled"] and says(weights, found["adversarial"]) == found["after"] != found["before"] == says(weights, large)
    with Image.open(found["adversarial"]) as after, Image.open(large) as before:
        assert after.size == before.size == (found["width"], found["height"]) == (40, 29)
        moved = np.asarray(after.convert("RGB"), int) - np.asarray(before.convert("RGB"), int)
    assert np.abs(moved).max() == found["levels"] == round(255 * found["eps"]) <= 60
    assert not moved[:, :3].any() and not moved[:, -3:].any(), "what the model does not see stays as it was"
    with Image.open(found["side_by_side"]) as picture:
        assert picture.width > 2.5 * picture.height


@pytest.mark.parametrize("size", [(40, 29), (29, 40), (8, 8), (5, 11), (300, 200)])
def test_attacks_climb_what_the_model_will_see(size):
    """The blur of resizing, as the attack sees it, is that of the file but for rounding to whole levels."""
    rng = np.random.default_rng(3)
    photo = FullSize(Image.fromarray(rng.integers(80, 176, (size[1], size[0], 3), dtype=np.uint8)), 8)
    image = torch.from_numpy(photo.seen)[None].float() / 255
    levels = torch.from_numpy(rng.integers(-60, 61, (1, 3, 8, 8))).float() / 255
    seen = photo.through(lambda x: x, "cpu")(image + levels)
    read = photo.as_read(image + levels)
    assert (seen - read).abs().max() * 255 <= 1.6
    assert size == (8, 8) or (read - image - levels).abs().max() * 255 > 10, "resizing mixes neighbors"
    assert np.abs(photo.changed((levels[0] * 255).round().int().numpy()).astype(int) - photo.pixels).max() <= 60


def test_what_the_file_does_not_do_is_not_claimed(weights, large, tmp_path, monkeypatch):
    """The search believes that it has one; the file, read again, says otherwise."""
    monkeypatch.setattr(FullSize, "changed", lambda photo, levels: photo.pixels.copy())
    monkeypatch.setattr(FullSize, "as_read", lambda photo, image: image)
    result = call(large, "--model", weights, "--out", tmp_path / "out", "--full-size", "--eps", "60/255")
    found = json.loads(result.stdout)
    assert not found["fooled"] and found["after"] == found["before"] and "still ant" in result.stderr


def counted(monkeypatch):
    """The photos that are attacked from now on."""
    attacked, own = [], photos._Folder._attacked
    monkeypatch.setattr(
        photos._Folder, "_attacked", lambda self, path, *rest: attacked.append(path.name) or own(self, path, *rest)
    )
    return attacked


def test_the_same_command_goes_on_where_it_was(weights, pictures, tmp_path, monkeypatch):
    some, out = [pictures / "ant" / f"{n}.png" for n in range(4)], tmp_path / "out"
    run = attack_photos(some, weights, out, eps=20 / 255)
    first = [next(run), next(run)]
    run.close()
    lines = (out / "attacks.jsonl").read_text().splitlines()
    assert [json.loads(line)["photo"] for line in lines] == [str(path) for path in some[:2]]
    attacked = counted(monkeypatch)
    again = list(attack_photos(some, weights, out, eps=20 / 255))
    assert attacked == ["2.png", "3.png"] and again[:2] == first
    assert list(attack_photos(some, weights, out, eps=20 / 255)) == again and len(attacked) == 2
    Path(again[1].adversarial).write_bytes(Path(again[2].adversarial).read_bytes())  # somebody else's
    Path(again[2].side_by_side).unlink()
    del attacked[:]
    assert list(attack_photos(some[1:], weights, out, eps=20 / 255)) == again[1:] and attacked == ["1.png", "2.png"]


def model_with(seed, folder):
    """A specification that stays the same while the weights are others."""
    (folder / "mine.py").write_text(
        "import escrime, torch\n"
        "def load():\n"
        f"    model = escrime.build('lenet', classes=3, seed={seed})\n"
        "    model.size = 8\n"
        "    return model\n"
    )
    return f"{folder / 'mine.py'}:load"


def content_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


CHANGES = [
    (("--eps", "21/255"), "settings.eps was 20/255, now 21/255"),
    ((), "settings.eps was 20/255, now the smallest"),
    (("--eps", "20/255", "--seed", "1"), "settings.seed was 0, now 1"),
    (("--eps", "20/255", "--target", "bee"), "settings.target was None, now bee"),
    (("--eps", "20/255", "--full-size"), "settings.full_size was False, now True"),
    (("--eps", "20/255", "--attack", "FGSM"), "settings.attacks was .*FGSM"),
    (("--eps", "20/255", "--size", "9"), "settings.size was 8, now 9"),
]


@pytest.mark.parametrize(("more", "said"), CHANGES)
def test_other_settings_replace_nothing(more, said, weights, pictures, tmp_path, monkeypatch):
    """A folder that is named refuses them; the usual one has others beside it, each found again."""
    monkeypatch.chdir(tmp_path)
    start = (pictures / "ant" / "0.png", "--model", weights)
    first = call(*start, "--eps", "20/255")
    before, attacked = content_of(tmp_path / "adversarial"), counted(monkeypatch)
    with pytest.raises(EscrimeError, match=f"adversarial belongs to another experiment .{said}.*--out"):
        call(*start, *more, "--out", "adversarial")
    assert attacked == [] and content_of(tmp_path / "adversarial") == before
    second = call(*start, *more)
    assert "folder is adversarial-2." in " ".join(second.stderr.split())
    assert json.loads(second.stdout)["adversarial"].startswith("adversarial-2/") and attacked == ["0.png"]
    assert content_of(tmp_path / "adversarial") == before
    assert call(*start, "--eps", "20/255").stdout == first.stdout and call(*start, *more).stdout == second.stdout
    assert attacked == ["0.png"] and sorted(path.name for path in tmp_path.glob("adv*")) == ["adversarial", "adversarial-2"]


def test_attacks_on_another_model_are_not_replaced(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo, more = pictures / "ant" / "0.png", ("--eps", "20/255")
    call(photo, "--model", model_with(0, tmp_path), *more)
    attacked = counted(monkeypatch)
    call(photo, "--model", model_with(0, tmp_path), *more)
    assert attacked == []
    with pytest.raises(EscrimeError, match="settings.weights was"):
        call(photo, "--model", model_with(1, tmp_path), *more, "--out", "adversarial")
    assert attacked == []
    call(photo, "--model", model_with(1, tmp_path), *more)
    assert attacked == ["0.png"] and (tmp_path / "adversarial-2" / "attacks.jsonl").exists()


@pytest.mark.parametrize(
    ("text", "said"), [("[]", "attack.json"), ("{", "attack.json cannot be read"), ('{"settings": 3}', "attack.json")]
)
def test_settings_of_others_are_refused(text, said, weights, pictures, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "attack.json").write_text(text)
    with pytest.raises(EscrimeError, match=said):
        call(pictures / "ant" / "0.png", "--model", weights, "--eps", "20/255", "--out", tmp_path / "out")
    assert (tmp_path / "out" / "attack.json").read_text() == text


def test_attacks_of_unknown_settings_are_not_replaced(weights, pictures, tmp_path):
    start = (pictures / "ant" / "0.png", "--model", weights, "--eps", "20/255", "--out", tmp_path / "out")
    call(*start)
    (tmp_path / "out" / "attack.json").unlink()
    with pytest.raises(EscrimeError, match="whose settings are not known"):
        call(*start)


def test_stopped_it_says_what_is_done(weights, pictures, tmp_path, monkeypatch):
    own = photos._Folder._attacked

    def stopped(self, path, *rest):
        if path.name == "1.png":
            raise KeyboardInterrupt
        return own(self, path, *rest)

    monkeypatch.setattr(photos._Folder, "_attacked", stopped)
    some = (pictures / "ant" / "0.png", pictures / "ant" / "1.png")
    result = call(*some, "--model", weights, "--out", tmp_path / "out", "--eps", "20/255")
    assert result.exit_code != 0 and "1 photo is done; what came of them lies in" in " ".join(result.stderr.split())
    assert len((tmp_path / "out" / "attacks.jsonl").read_text().splitlines()) == 1
    assert not list((tmp_path / "out").glob(".*.partial"))


def test_a_person_reads_sentences():
    found = Result("/a/cat.jpg", "o/cat.png", "o/s.png", True, 2, 2 / 255, None, "cat", 0.9, "dog", 0.6, 640, 427)
    said = sentence(found)
    for words in ("cat.jpg", "cat (90.0%) → dog (60.0%)", "ε = 2/255", "640 × 427 pixels", "verified"):
        assert words in said
    missed = sentence(replace(found, fooled=False, after="cat"))
    assert "still cat" in missed and "verified" not in missed and "tried: 2/255" in missed
    assert "1 of 2 photos" in summary([found, replace(found, fooled=False)], Path("o"), full_size=False)
    assert "--full-size" in summary([found], Path("o"), False) and "--full-size" not in summary([found], Path("o"), True)


def test_only_what_is_white_in_a_mask_changes(weights, pictures, tmp_path):
    white = np.zeros((8, 8), np.uint8)
    white[:, 2:] = 255
    Image.fromarray(white).save(tmp_path / "mask.png")
    photo, out = pictures / "ant" / "0.png", tmp_path / "out"
    result = call(photo, "--model", weights, "--eps", "100/255", "--mask", tmp_path / "mask.png", "--out", out)
    found = json.loads(result.stdout)
    assert found["fooled"] and found["mask"]["file"] == "mask.png" and found["mask"]["share"] == 0.75
    changed = read_image(found["adversarial"], 8) != read_image(photo, 8)
    assert not changed[:, white == 0].any() and changed[:, white > 0].any()
    assert "only pixels of mask mask.png may change, 75 % of the image" in sentence(Result(**found))
    with pytest.raises(EscrimeError, match="mask"):  # without it, it is another question
        call(photo, "--model", weights, "--eps", "100/255", "--out", out)
    Image.fromarray(white[:5]).save(tmp_path / "small.png")
    with pytest.raises(EscrimeError, match="small.png has 8 × 5 pixels, and the model sees images of 8 × 8"):
        call(photo, "--model", weights, "--mask", tmp_path / "small.png", "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()
