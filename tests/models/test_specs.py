"""A model from one line of text: every kind, its normalization and names, and a clear word where it cannot be."""

import os
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import escrime
from escrime import EscrimeError, load_model
from escrime.data import IMAGENET_INDICES, WNIDS, ImageSet, labels_for
from escrime.models import save_weights
from escrime.models.loading.loaded import Loaded, imagenet_wnids, with_names


@pytest.fixture
def images():
    return torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3 * 8 * 8, 4)

    def forward(self, images):
        return self.fc(images.flatten(1))


@pytest.fixture
def tiny():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Tiny().eval()


def test_weights_of_ours_bring_classes_and_size(tmp_path, images):
    model = escrime.build("lenet", 3, seed=1)
    save_weights(model, tmp_path / "w.safetensors", {"classes": ["ant", "bee", "cat"], "size": 8})
    found = load_model(f"lenet@{tmp_path / 'w.safetensors'}")
    assert found.classes == ("ant", "bee", "cat") and found.size == 8 and found.answers == "gradients"
    assert torch.equal(found.model(images), model(images))


@pytest.mark.parametrize("prefix", ["", "module.", "module.model."])
def test_state_dicts_as_others_publish_them(prefix, tmp_path):
    """Under a prefix, nested in a checkpoint, with the normalization as a layer of its own."""
    network = escrime.build("resnet18", 7, seed=1).network
    tensors = {prefix + name: tensor for name, tensor in network.state_dict().items()}
    if prefix:
        tensors |= {"module.normalizer.mean": torch.full((3, 1, 1), 0.4), "module.normalizer.std": torch.full((3, 1, 1), 0.3)}
    torch.save({"epoch": 3, "state_dict": tensors}, tmp_path / "w.pt")
    found = load_model(f"resnet18@{tmp_path / 'w.pt'}")
    images = torch.rand(2, 3, 64, 64)
    mean, std = (0.4, 0.3) if prefix else (found.model.mean, found.model.std)
    with torch.no_grad():
        assert torch.allclose(found.model(images), network.eval()((images - mean) / std), atol=1e-5)
    assert found.classes is None and found.size == 224


def test_loading_builds_a_few_networks_and_not_one_per_tensor(tmp_path, monkeypatch):
    from escrime.models import architectures

    torch.save(escrime.build("resnet18", 7, seed=1).network.state_dict(), tmp_path / "w.pt")
    built, real = [], architectures.construct
    monkeypatch.setattr(architectures, "construct", lambda *given: built.append(1) or real(*given))
    load_model(f"resnet18@{tmp_path / 'w.pt'}")
    assert 0 < len(built) <= 6


def test_torchvision_by_name(monkeypatch, tmp_path):
    """Its names, size and normalization; the download itself is torchvision's."""
    from torchvision.models import ResNet18_Weights

    network = escrime.build("resnet18", 1000, seed=2).network
    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", lambda self, **_: network.state_dict())
    monkeypatch.setattr("escrime.models.loading.sources.unreachable", lambda url: None)
    found = load_model("torchvision:resnet18")
    assert found.origin == "torchvision:resnet18@IMAGENET1K_V1" and found.size == 224
    assert len(found.classes) == len(found.wnids) == 1000 and found.classes[217] == "English springer"
    assert found.wnids[217] == "n02102040"
    with pytest.raises(EscrimeError, match="no weights 'IMAGENET1K_V9'.*it has IMAGENET1K_V1"):
        load_model("torchvision:resnet18@IMAGENET1K_V9")
    with pytest.raises(EscrimeError, match="resnet19.*Did you mean 'resnet1"):
        load_model("torchvision:resnet19")


def test_the_thousand_wnids():
    assert len(imagenet_wnids()) == 1000 and list(imagenet_wnids()) == sorted(imagenet_wnids())
    assert [imagenet_wnids().index(wnid) for wnid in WNIDS] == list(IMAGENET_INDICES)


def test_timm(monkeypatch):
    timm = pytest.importorskip("timm")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model("resnet10t", pretrained=False).eval()
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: network)
    found = load_model("timm:resnet10t")
    facts, images = network.pretrained_cfg, torch.rand(1, 3, 64, 64)
    mean, std = (torch.tensor(facts[key])[:, None, None] for key in ("mean", "std"))
    with torch.no_grad():
        assert torch.allclose(found.model(images), network((images - mean) / std), atol=1e-5)
    assert found.size == facts["input_size"][1] and "tench" in found.classes[0] and found.wnids[0] == "n01440764"


@pytest.fixture
def timm():
    return pytest.importorskip("timm")


def test_timm_with_weights_from_a_file(timm, tmp_path):
    """The classes are counted in the file; the normalization is timm's unless the file says it."""
    network = timm.create_model("test_resnet", pretrained=False, num_classes=7).eval()
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    torch.save(network.state_dict(), tmp_path / "w.pth")
    facts, pixels = timm.get_pretrained_cfg("test_resnet"), torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(values)[:, None, None] for values in (facts.mean, facts.std))
    for name in ("w.safetensors", "w.pth"):
        found = load_model(f"timm:test_resnet@{tmp_path / name}")
        with torch.no_grad():
            assert torch.equal(found.model(pixels), network((pixels - mean) / std))
        assert found.origin == f"timm:test_resnet@{tmp_path / name}" and found.size == facts.input_size[1]
        assert found.normalization.endswith("from timm")
    save_file(network.state_dict(), tmp_path / "own.safetensors", {"mean": "0.4", "std": "0.2"})
    found = load_model(f"timm:test_resnet@{tmp_path / 'own.safetensors'}")
    assert found.normalization == "mean 0.4, std 0.2, from the file"
    with torch.no_grad():
        assert torch.allclose(found.model(pixels), network((pixels - 0.4) / 0.2), atol=1e-5)


def test_a_timm_network_with_its_head_cut(timm, tmp_path):
    """As an experiment builds it: ten of a thousand classes."""
    network = timm.create_model("test_resnet", pretrained=False).eval()
    save_file(network.state_dict(), tmp_path / "w.safetensors", {"mean": "0.5", "std": "0.5"})
    ten = escrime.build(
        "timm:test_resnet", 10, weights=tmp_path / "w.safetensors", head="slice", class_indices=IMAGENET_INDICES
    )
    pixels = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(ten(pixels), network((pixels - 0.5) / 0.5)[:, list(IMAGENET_INDICES)], atol=1e-5)
    with pytest.raises(EscrimeError, match="timm has no network 'test_resnett'.*Did you mean 'test_resnet'"):
        escrime.build("timm:test_resnett", 10)
    save_file({"a": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(EscrimeError, match="hold no output layer of timm:test_resnet"):
        load_model(f"timm:test_resnet@{tmp_path / 'other.safetensors'}")


@pytest.mark.shared
def test_efficientnet_lite0_is_timms_to_the_last_bit(timm, shared):
    file = shared / "models" / "efficientnet_lite0-imagenet1k.safetensors"
    found = load_model(f"timm:tf_efficientnet_lite0@{file}")
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    network.load_state_dict(load_file(file))
    pixels = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(found.model(pixels), network((pixels - 0.5) / 0.5))
    assert (found.size, found.normalization) == (224, "mean 0.5, std 0.5, from the file")
    assert found.wnids[217] == "n02102040"


def test_torchvision_with_weights_from_a_file(tmp_path):
    network = escrime.build("mobilenet_v2", 5, seed=1).network
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    found, pixels = load_model(f"torchvision:mobilenet_v2@{tmp_path / 'w.safetensors'}"), torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        assert torch.allclose(found.model(pixels), network((pixels - mean) / std), atol=1e-6)
    assert found.origin == f"torchvision:mobilenet_v2@{tmp_path / 'w.safetensors'}"
    assert found.normalization == "mean 0.485, 0.456, 0.406, std 0.229, 0.224, 0.225, from torchvision"
    with pytest.raises(EscrimeError, match="nothing.pth does not exist"):
        load_model("torchvision:mobilenet_v2@nothing.pth")


def test_hugging_face_folder(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8,
        id2label={0: "ant", 1: "bee", 2: "cat"}, label2id={"ant": 0, "bee": 1, "cat": 2},
    )  # fmt: skip
    network = transformers.ViTForImageClassification(config).eval()
    network.save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.4] * 3, image_std=[0.2] * 3).save_pretrained(
        tmp_path
    )
    found, images = load_model(f"hf:{tmp_path}"), torch.rand(2, 3, 32, 32)
    assert found.classes == ("ant", "bee", "cat") and found.size == 32 and found.answers == "gradients"
    with torch.no_grad():
        assert torch.allclose(found.model(images), network(pixel_values=(images - 0.4) / 0.2).logits, atol=1e-5)
    moved = escrime.FGSM(0.1)(found.model, images, torch.tensor([0, 1]))
    assert not torch.equal(moved, images)
    with pytest.raises(EscrimeError, match="cannot be loaded.*check the name"):
        load_model(f"hf:{tmp_path / 'nothing'}")


def test_libraries_that_are_not_there_name_their_install_line(monkeypatch):
    import sys

    for module, spec, line in (
        ("timm", "timm:x", r"--extra timm.*'\.\[timm\]'"),
        ("transformers", "hf:x/y", r"--extra hf.*'\.\[hf\]'"),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(EscrimeError, match=line):
            load_model(spec)


FUNCTIONS = """
import numpy as np, torch
from torch import nn
class Net(nn.Module):
    classes = ["ant", "bee"]
    size = 8
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(192, 2)
    def forward(self, x):
        return self.fc(x.flatten(1))
def scores():
    return lambda x: np.stack([x.mean((1, 2, 3)), 1 - x.mean((1, 2, 3))], axis=1)
def labels():
    return lambda x: (x.mean((1, 2, 3)) > 0.5).astype(int)
def wrong():
    return lambda x: x
def number():
    return 3
def fails():
    raise ValueError("no weights")
class OwnTrain(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(192, 2))
        self.size = 8
    def train(self, mode=True):
        super().train(mode)
def crashes():
    return lambda x: x.softmax()
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    return tmp_path / "mine.py"


def test_a_function_of_ones_own(file, images):
    found = load_model(f"{file}:Net")
    assert found.classes == ("ant", "bee") and found.size == 8 and not found.model.training
    scores, labels = load_model(f"{file}:scores"), load_model(f"{file}:labels")
    assert not load_model(f"{file}:OwnTrain").model.training
    assert (scores.answers, labels.answers) == ("scores", "labels")
    assert torch.allclose(scores.model(images)[:, 0], images.mean((1, 2, 3)))
    assert torch.equal(labels.model(images).argmax(1), (images.mean((1, 2, 3)) > 0.5).long())


def test_a_file_written_again_within_the_same_second_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # as in a user's shell
    path = tmp_path / "mine.py"
    for width in (3, 4):
        path.write_text(f"import torch\ndef load():\n    return torch.nn.Linear({width}, 2)\n")
        os.utime(path, (10**9, 10**9))  # as long and as old as before, by which stored bytecode is known
        assert load_model(f"{path}:load").model.in_features == width
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "name, said",
    [
        ("wrong", r"returned float32 \(1, 3, 224, 224\) for 1 images"),
        ("number", "returned a int; return a torch.nn.Module"),
        ("fails", "failed .ValueError: no weights"),
        ("crashes", "fails on a gray image.*float32 numpy"),
        ("absent", "no function 'absent'; it has"),
    ],
)
def test_what_a_function_does_wrong_is_said(name, said, file):
    with pytest.raises(EscrimeError, match=said):
        load_model(f"{file}:{name}")


@pytest.mark.parametrize("dynamic", [True, False])
def test_exported_programs_have_gradients_at_any_batch_size(dynamic, tiny, images, tmp_path):
    shapes = ({0: torch.export.Dim("n", min=1, max=512)},) if dynamic else None
    torch.export.save(torch.export.export(tiny, (images[:2],), dynamic_shapes=shapes), tmp_path / "m.pt2")
    found = load_model(str(tmp_path / "m.pt2"), trust=True)
    assert found.size == 8 and found.answers == "gradients"
    assert torch.allclose(found.model(images), tiny(images), atol=1e-6)
    labels = tiny(images).argmax(1)
    attack = escrime.PGD(0.2, steps=5)
    assert torch.allclose(attack(found.model, images, labels), attack(tiny, images, labels), atol=1e-5)


def test_what_is_no_archive_is_said(tmp_path):
    (tmp_path / "no.pt2").write_bytes(b"nothing")
    with pytest.raises(EscrimeError, match="damaged or no .pt2 archive"):
        load_model(str(tmp_path / "no.pt2"), trust=True)


def save_onnx(path, tiny, shape, kind="FLOAT"):
    """`tiny` as an ONNX file that takes images of `shape`."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    weight, bias = (
        numpy_helper.from_array(t.detach().numpy().astype("float16" if kind == "FLOAT16" else "float32"), name)
        for t, name in ((tiny.fc.weight, "w"), (tiny.fc.bias, "b"))
    )
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["f"]),
            helper.make_node("Gemm", ["f", "w", "b"], ["y"], transB=1),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", getattr(TensorProto, kind), shape)],
        [helper.make_tensor_value_info("y", getattr(TensorProto, kind), [shape[0], 4])],
        [weight, bias],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)


def test_onnx_is_asked_at_the_size_that_is_wanted_or_refuses_it(tiny, images, tmp_path):
    save_onnx(tmp_path / "free.onnx", tiny, ["n", 3, "h", "w"])
    found = load_model(str(tmp_path / "free.onnx"), size=8)
    assert found.size is None and found.side(8) == 8 and torch.allclose(found.model(images), tiny(images), atol=1e-5)
    with pytest.raises(EscrimeError, match="fails on a gray image of 224 × 224 pixels.*--size"):
        load_model(str(tmp_path / "free.onnx"))
    save_onnx(tmp_path / "fixed.onnx", tiny, ["n", 3, 8, 8])
    with pytest.raises(EscrimeError, match="fixed.onnx takes images of 8 × 8 pixels alone, and --size asks for 16"):
        load_model(str(tmp_path / "fixed.onnx"), size=16)
    assert load_model(str(tmp_path / "fixed.onnx"), size=8).side(None) == 8


def test_onnx_in_half_precision_works_and_other_layouts_are_named(tiny, images, tmp_path):
    save_onnx(tmp_path / "half.onnx", tiny, ["n", 3, 8, 8], "FLOAT16")
    assert torch.allclose(load_model(str(tmp_path / "half.onnx")).model(images), tiny(images), atol=1e-2)
    for shape, said in ((["n", 8, 8, 3], "the channels are last in it"), ([1, 3, 4, 16], "takes images of 1 × 3 × 4 × 16")):
        save_onnx(tmp_path / "odd.onnx", tiny, shape)
        with pytest.raises(EscrimeError, match=said):
            load_model(str(tmp_path / "odd.onnx"))


@pytest.mark.parametrize("batch", ["n", 2])
def test_onnx_is_a_black_box(batch, tiny, images, tmp_path):
    save_onnx(tmp_path / "m.onnx", tiny, [batch, 3, 8, 8])
    found = load_model(str(tmp_path / "m.onnx"))
    assert (found.answers, found.size) == ("scores", 8)
    assert torch.allclose(found.model(images), tiny(images), atol=1e-5)
    labels = tiny(images).argmax(1)
    for attack in (escrime.Square(0.8, queries=300), escrime.RayS(0.8, queries=300)):
        assert (found.model(attack(found.model, images, labels)).argmax(1) != labels).float().mean() >= 0.6
    (tmp_path / "no.onnx").write_bytes(b"nothing")
    with pytest.raises(EscrimeError, match="no ONNX model"):
        load_model(str(tmp_path / "no.onnx"))


@pytest.mark.parametrize(
    "spec, said",
    [
        ("resnet18", "write torchvision:resnet18.*resnet18@FILE"),
        ("mine.py", "Name the function too: mine.py:FUNCTION"),
        ("w.safetensors", "ARCH@w.safetensors"),
        ("rsenet18", "no known kind"),
        ("nothing.py:f", "nothing.py does not exist"),
        ("nothing.pt2", "nothing.pt2 does not exist"),
        ("nothing.onnx", "nothing.onnx does not exist"),
        ("resnet18@nothing.pt", "nothing.pt does not exist"),
        ("resnet81@nothing.pt", "resnet81.*Did you mean"),
        ("torchvision:lenet", "torchvision has no 'lenet'"),
    ],
)
def test_a_text_of_no_kind_is_met_with_the_likely_one(spec, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EscrimeError, match=said):
        load_model(spec)


def test_labels_alone_fall_to_decisions(file, images):
    labels = load_model(f"{file}:labels").model
    images = images * 0.1 + 0.45
    truth = labels(images).argmax(1)
    moved = escrime.RayS(0.1, queries=100)(labels, images, truth)
    assert (labels(moved).argmax(1) != truth).all() and np.isfinite(moved.numpy()).all()


@pytest.mark.parametrize("key", ["model_ema", "state_dict_ema", "params", "teacher"])
def test_averages_as_others_publish_them(key, tmp_path):
    network = escrime.build("lenet", 4, seed=1).network
    averaged = torch.optim.swa_utils.AveragedModel(network)
    torch.save({"epoch": 3, key: averaged.state_dict()}, tmp_path / "w.pt")
    found = load_model(f"lenet@{tmp_path / 'w.pt'}")
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in found.model.network.state_dict().items())
    torch.save({"gen": network.state_dict(), "disc": network.state_dict()}, tmp_path / "two.pt")
    with pytest.raises(EscrimeError, match="holds several networks .gen, disc."):
        load_model(f"lenet@{tmp_path / 'two.pt'}")


@pytest.mark.parametrize(
    "classes", ["np.array(['zebra', 'ant'])", "{0: 'zebra', 1: 'ant'}", "{'zebra': 0, 'ant': 1}", "['zebra', 'ant']"]
)
def test_class_names_in_whatever_holds_them(classes, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import numpy as np\nfrom torch import nn\n"
        "def load():\n"
        "    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))\n"
        f"    model.classes, model.size = {classes}, (8, 8)\n"
        "    return model\n"
    )
    found = load_model(f"{tmp_path / 'mine.py'}:load")
    assert found.classes == ("zebra", "ant") and found.size == 8


def test_a_file_is_loaded_as_python_loads_it(tmp_path, images):
    """A dataclass under postponed annotations looks for its module; what lies beside the file is imported when it is used."""
    (tmp_path / "beside.py").write_text("SCALE = 2.0\n")
    (tmp_path / "mine.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom torch import nn\n"
        "@dataclass\nclass Config:\n    width: int = 4\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.fc = nn.Linear(192, Config().width)\n"
        "    def forward(self, x):\n        from beside import SCALE\n        return SCALE * self.fc(x.flatten(1))\n"
        "def load():\n    return Net()\n"
    )
    assert load_model(f"{tmp_path / 'mine.py'}:load").model(images).shape == (5, 4)


def test_a_program_for_other_images_is_one_sentence(tmp_path):
    program = torch.export.export(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten()), (torch.rand(2, 1, 8, 8),))
    torch.export.save(program, tmp_path / "gray.pt2")
    with pytest.raises(EscrimeError, match="gray.pt2 fails on a gray image of 3 × 8 × 8 .*; export it for one input"):
        load_model(str(tmp_path / "gray.pt2"), trust=True)


def test_weights_of_ours_are_met_by_wordnet_ids_too(tmp_path):
    """Trained on Imagenette by its name, judged on its folder, whose classes are called by their ids."""
    model = escrime.build("lenet", 2, seed=1)
    about = {"classes": ["tench", "French horn"], "wnids": ["n01440764", "n03394916"], "size": 8}
    save_weights(model, tmp_path / "w.safetensors", about)
    found = load_model(f"lenet@{tmp_path / 'w.safetensors'}")
    ids = ("n03394916", "n01440764")
    data = ImageSet("folder", np.zeros((2, 3, 8, 8), np.uint8), [0, 1], ("a", "b"), ids, wnids=ids)
    assert labels_for(data, 2, found.classes, found.wnids, "mine").labels.tolist() == [1, 0]
    named = ImageSet("imagenette", data.images, [0, 1], ("a", "b"), ("French horn", "tench"), wnids=ids)
    assert labels_for(named, 2, ["n01440764", "n03394916"], None, "mine").labels.tolist() == [1, 0]


def test_a_thousand_nameless_classes_are_imagenet_s_and_no_others():
    loaded = Loaded(torch.nn.Identity(), "mine.py:load")
    found = with_names(loaded, 1000)
    assert found.classes[217] == "English springer" and found.wnids == imagenet_wnids() and len(set(found.classes)) == 1000
    assert with_names(loaded, 999) == loaded
    own = Loaded(torch.nn.Identity(), "mine.py:load", classes=tuple(map(str, range(1000))))
    assert with_names(own, 1000) == own
    other = Loaded(torch.nn.Identity(), "mine.py:load", wnids=imagenet_wnids()[::-1])
    assert with_names(other, 1000) == other
