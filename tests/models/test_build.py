"""Building a classifier by name: random, or pre-trained with its output layer cut to the wanted classes."""

import random

import numpy
import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

from escrime.errors import EscrimeError
from escrime.models import ARCHITECTURES, Normalized, architecture, build, logits_and_auxiliary, save_weights
from escrime.models.loading.matching import align


def state(model: nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
    return {prefix + name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.fixture(scope="module")
def mobilenet(lively) -> Normalized:
    """A MobileNetV2 of 20 classes with its own normalization, standing for one of 1000."""
    return Normalized(lively(build("mobilenet_v2", 20, seed=4).network), (0.1, 0.2, 0.3), (0.9, 0.8, 0.7)).eval()


@pytest.fixture(scope="module")
def mobilenet_file(mobilenet, tmp_path_factory):
    """Its bare network in a file, without normalization."""
    path = tmp_path_factory.mktemp("weights") / "mobilenet.safetensors"
    save_file(state(mobilenet.network), path)
    return path


@pytest.mark.parametrize("arch", [*ARCHITECTURES, "squeezenet1_1", "shufflenet_v2_x0_5", "regnet_y_400mf"])
def test_every_architecture_has_the_wanted_classes(arch):
    model = build(arch, 3)
    head = model.network.get_submodule(architecture(arch).head)
    assert head.weight.shape[0] == 3
    size = 32 if arch != "inception_v3" else 75
    assert model(torch.rand(1, 3, size, size)).shape == (1, 3)
    assert not any(module.training for module in model.modules())


def test_the_papers_networks_are_registered():
    wanted = {"lenet", "wide_resnet_small", "resnet18", "resnet50", "wide_resnet50_2", "googlenet", "mobilenet_v2"}
    assert wanted <= ARCHITECTURES.keys()
    for entry in ARCHITECTURES.values():
        assert entry.description and "\n" not in entry.description and entry.head and entry.size >= 8


def test_other_torchvision_networks_know_their_normalization_and_size():
    entry = architecture("efficientnet_b0")
    assert (entry.head, entry.size, entry.mean) == ("classifier.1", 224, (0.485, 0.456, 0.406))


@pytest.mark.parametrize(
    ("arch", "said"),
    [("wide_resnet50", "Did you mean 'wide_resnet50_2'"), ("vgg12", "Did you mean 'vgg1"), (3, "unknown")],
)
def test_an_unknown_architecture_suggests_the_nearest(arch, said):
    with pytest.raises(EscrimeError, match=said):
        build(arch, 10)


def test_the_seed_decides_and_the_global_generators_do_not():
    torch.manual_seed(1)
    before = torch.get_rng_state(), numpy.random.get_state()[1].tolist(), random.getstate()
    one = build("wide_resnet_small", 10, seed=5)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (numpy.random.get_state()[1].tolist(), random.getstate())
    torch.manual_seed(2)
    two, other = build("wide_resnet_small", 10, seed=5), build("wide_resnet_small", 10, seed=6)
    assert torch.equal(one.network.fc.weight, two.network.fc.weight)
    assert torch.equal(one.network.stem.weight, two.network.stem.weight)
    assert not torch.equal(one.network.stem.weight, other.network.stem.weight)


def test_building_with_weights_leaves_no_trace(mobilenet_file):
    before, grad = torch.get_rng_state(), torch.is_grad_enabled()
    build("mobilenet_v2", 5, weights=mobilenet_file)
    assert torch.equal(before, torch.get_rng_state()) and torch.is_grad_enabled() == grad


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: tensors,
        lambda tensors: {"state_dict": tensors, "epoch": 3},
        lambda tensors: {"model": tensors, "optimizer": {"lr": 0.1}},
        lambda tensors: {"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}},
        lambda tensors: {f"model.{name}": tensor for name, tensor in tensors.items()},
        lambda tensors: {f"network.{name}": tensor for name, tensor in tensors.items()},
        lambda tensors: {f"module._orig_mod.network.{name}": tensor for name, tensor in tensors.items()},
    ],
)
def test_state_dicts_load_whatever_their_prefix(mobilenet, images, tmp_path, wrap):
    torch.save(wrap(state(mobilenet.network)), tmp_path / "w.pt")
    model = build("mobilenet_v2", 20, weights=tmp_path / "w.pt", mean=(0.1, 0.2, 0.3), std=(0.9, 0.8, 0.7))
    assert torch.equal(model(images), mobilenet(images))


@pytest.mark.parametrize(
    ("names", "shape"),
    [
        (("mean", "std", "network."), (1, 3, 1, 1)),
        (("0.mean", "0.std", "1."), (3,)),
        (("normalize.mu", "normalize.sigma", "net."), (3, 1, 1)),
    ],
)
def test_a_normalization_layer_in_the_file_is_taken(mobilenet, images, tmp_path, names, shape):
    mean, std, prefix = names
    normalization = {mean: mobilenet.mean.reshape(shape).clone(), std: mobilenet.std.reshape(shape).clone()}
    save_file(state(mobilenet.network, prefix) | normalization, tmp_path / "w.safetensors")
    assert torch.equal(build("mobilenet_v2", 20, weights=tmp_path / "w.safetensors")(images), mobilenet(images))
    overruled = build("mobilenet_v2", 20, weights=tmp_path / "w.safetensors", mean=0.5, std=0.2)
    assert overruled.mean.flatten().tolist() == [0.5] * 3


def test_the_prefix_that_fits_most_names_is_removed():
    tensors = {"m.w": torch.zeros(1), "m.a.w": torch.ones(1), "m.a.b": torch.ones(1), "other": torch.zeros(1)}
    named, normalizer = align(tensors, {"w": (1,), "a.w": (1,), "a.b": (1,)})
    assert named.keys() == {"w", "a.w", "a.b", "other"} and named["a.w"] == 1 and normalizer is None


def test_a_normalization_in_the_metadata_is_taken(mobilenet, images, tmp_path):
    metadata = {"mean": "[0.1, 0.2, 0.3]", "std": "[0.9, 0.8, 0.7]"}
    save_file(state(mobilenet.network), tmp_path / "w.safetensors", metadata)
    assert torch.equal(build("mobilenet_v2", 20, weights=tmp_path / "w.safetensors")(images), mobilenet(images))


def test_otherwise_normalization_is_the_architectures(mobilenet_file):
    mean = build("mobilenet_v2", 20, weights=mobilenet_file).mean
    assert mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    with pytest.raises(EscrimeError, match="both or neither"):
        build("mobilenet_v2", 20, mean=0.5)
    with pytest.raises(EscrimeError, match="needs one value, or 3"):
        build("mobilenet_v2", 20, mean=[0.5, 0.5], std=0.5)


def test_every_checkpoint_loads_into_the_same_architecture(images, tmp_path):
    """Whatever normalization a model was built with, its tensors have the shapes of one built without."""
    scalar = build("lenet", 4, mean=0.1, std=0.2, seed=1)
    path = save_weights(scalar, tmp_path / "w.safetensors", {})
    assert torch.equal(build("lenet", 4, weights=path)(images), scalar(images))


def test_slicing_keeps_the_rows_in_order(mobilenet, mobilenet_file, images):
    kept = [7, 0, 19]
    options = {"head": "slice", "class_indices": kept, "mean": (0.1, 0.2, 0.3), "std": (0.9, 0.8, 0.7)}
    model = build("mobilenet_v2", 3, weights=mobilenet_file, **options)
    assert torch.allclose(model(images), mobilenet(images)[:, kept], atol=1e-5)


def test_a_new_head_is_drawn_from_the_seed_and_the_rest_is_kept(mobilenet, mobilenet_file):
    one, two, other = (build("mobilenet_v2", 3, weights=mobilenet_file, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.network.classifier[1].weight, two.network.classifier[1].weight)
    assert not torch.equal(one.network.classifier[1].weight, other.network.classifier[1].weight)
    assert torch.equal(one.network.features[18][1].running_var, mobilenet.network.features[18][1].running_var)
    assert torch.equal(one.network.features[0][0].weight, mobilenet.network.features[0][0].weight)


def test_weights_of_the_right_number_of_classes_keep_their_head(mobilenet, mobilenet_file, images):
    imagenet = list(range(100, 120))  # rows of some larger head, not of this one
    for options in ({}, {"head": "slice"}, {"head": "slice", "class_indices": imagenet}):
        model = build("mobilenet_v2", 20, weights=mobilenet_file, **options)
        assert torch.equal(model.network.classifier[1].weight, mobilenet.network.classifier[1].weight)
    backwards = list(range(20))[::-1]
    model = build("mobilenet_v2", 20, weights=mobilenet_file, head="slice", class_indices=backwards)
    assert torch.equal(model.network.classifier[1].weight, mobilenet.network.classifier[1].weight.flip(0))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"classes": 1}, "classes = 1"),
        ({"classes": 2.5}, "classes = 2.5"),
        ({"head": "cut"}, "head 'cut' is unknown"),
        ({"head": "slcie"}, "Did you mean 'slice'"),
        ({"head": "slice"}, "weights have 20 classes and the model 3; head='slice' needs class_indices"),
        ({"head": "slice", "class_indices": [0, 1, 20]}, "contain 20, but the weights have 20 classes"),
        ({"head": "slice", "class_indices": [0, 1]}, "3 different class numbers"),
        ({"head": "slice", "class_indices": [0, 1, 1]}, "3 different class numbers"),
        ({"head": "slice", "class_indices": [0, 1, -1]}, "3 different class numbers"),
        ({"head": "slice", "class_indices": 5}, "not a sequence"),
        ({"class_indices": [0, 1, 2]}, "need head='slice'"),
    ],
)
def test_impossible_requests_are_refused(mobilenet_file, options, said):
    with pytest.raises(EscrimeError, match=said):
        build("mobilenet_v2", **({"classes": 3, "weights": mobilenet_file} | options))


def test_weights_of_another_architecture_name_the_likely_one(mobilenet_file):
    with pytest.raises(EscrimeError, match="do not fit resnet50: conv1.weight, bn1.weight.* weights of 'mobilenet_v2'"):
        build("resnet50", 20, weights=mobilenet_file)
    with pytest.raises(EscrimeError, match="do not fit lenet: conv1.weight, .* and 7 more missing; .* unexpected"):
        build("lenet", 20, weights=mobilenet_file)


def test_damaged_state_dicts_name_the_first_keys(mobilenet, tmp_path):
    tensors = state(mobilenet.network)
    del tensors["features.2.conv.2.weight"], tensors["features.0.1.bias"]
    tensors["extra"] = torch.zeros(2)
    tensors["features.0.0.weight"] = torch.zeros(32, 1, 3, 3)
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(EscrimeError) as caught:
        build("mobilenet_v2", 20, weights=tmp_path / "w.safetensors")
    assert "features.0.1.bias, features.2.conv.2.weight missing; extra unexpected; " in str(caught.value)
    assert "features.0.0.weight 32×1×3×3 instead of 32×3×3×3 of another shape" in str(caught.value)


def test_nan_in_weights_is_refused(mobilenet, tmp_path):
    tensors = state(mobilenet.network)
    tensors["features.0.1.running_var"][3] = float("inf")
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(EscrimeError, match="NaN or infinity in features.0.1.running_var"):
        build("mobilenet_v2", 20, weights=tmp_path / "w.safetensors")


def test_batch_counters_may_be_missing(mobilenet, images, tmp_path):
    tensors = {name: tensor for name, tensor in state(mobilenet).items() if not name.endswith("num_batches_tracked")}
    save_file(tensors, tmp_path / "w.safetensors")
    assert torch.equal(build("mobilenet_v2", 20, weights=tmp_path / "w.safetensors")(images), mobilenet(images))


@pytest.fixture(scope="module")
def googlenet_file(lively, tmp_path_factory):
    """torchvision's GoogLeNet of 20 classes as it comes with pre-trained weights: `transform_input` on."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.GoogLeNet(num_classes=20, transform_input=True, init_weights=False)
    path = tmp_path_factory.mktemp("googlenet") / "googlenet.safetensors"
    save_file(state(lively(network)), path)
    return network.eval(), path


def test_googlenet_keeps_torchvisions_numerics(googlenet_file, images):
    network, path = googlenet_file
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    model = build("googlenet", 20, weights=path)
    with torch.no_grad():
        expected = network((images - mean) / std)
        scale = float(expected.abs().max())
        assert (model(images) - expected).abs().max() < 1e-5 * scale
        # The usual ImageNet normalization would have been another function.
        assert (Normalized(model.network, mean, std)(images) - expected).abs().max() > 1e-2 * scale


def test_googlenets_auxiliary_heads_are_cut_like_the_head(googlenet_file, images):
    network, path = googlenet_file
    kept = [4, 0, 9]
    model = build("googlenet", 3, weights=path, head="slice", class_indices=kept)
    for name in ("fc", "aux1.fc2", "aux2.fc2"):
        cut, whole = model.network.get_submodule(name), network.get_submodule(name)
        assert torch.equal(cut.weight, whole.weight[kept]) and torch.equal(cut.bias, whole.bias[kept])
    fresh = build("googlenet", 3, weights=path)
    assert torch.equal(fresh.network.aux1.fc1.weight, network.aux1.fc1.weight)
    assert [z.shape for z in logits_and_auxiliary(fresh.train(), images)[1]] == [(4, 3), (4, 3)]


def test_googlenet_without_auxiliary_weights_gets_fresh_heads(googlenet_file, tmp_path, images):
    network, path = googlenet_file
    save_file({name: t for name, t in load_file(path).items() if "aux" not in name}, tmp_path / "w.safetensors")
    model, again = (build("googlenet", 20, weights=tmp_path / "w.safetensors") for _ in range(2))
    assert torch.equal(model.network.fc.weight, network.fc.weight)
    assert torch.equal(model.network.aux1.fc2.weight, again.network.aux1.fc2.weight)
    assert len(logits_and_auxiliary(model.train(), images)[1]) == 2


@pytest.mark.slow
@pytest.mark.shared
def test_mobilenet_of_imagenet_cut_to_imagenette(shared, imagenette_folder):
    """96.4 % among the ten classes on the 500 leak-free images is documented; every fifth of them is read here."""
    from PIL import Image

    indices = [0, 217, 482, 491, 497, 566, 569, 571, 574, 701]
    weights = shared / "models" / "mobilenet_v2-imagenet1k.safetensors"
    model = build("mobilenet_v2", 10, weights=weights, head="slice", class_indices=indices, mean=0.5, std=0.5)
    files = sorted(imagenette_folder.glob("*/*/ILSVRC2012_val_*.JPEG"))
    assert len(files) == 500
    classes = sorted({file.parent.name for file in files})
    right = []
    for file in files[::5]:
        with Image.open(file) as image:
            pixels = torchvision.transforms.functional.to_tensor(image.convert("RGB"))
        with torch.no_grad():
            right.append(int(model(pixels[None]).argmax()) == classes.index(file.parent.name))
    assert len(right) == 100 and sum(right) / 100 > 0.9
    with pytest.raises(EscrimeError, match="weights of 'mobilenet_v2'"):
        build("googlenet", 10, weights=weights)
