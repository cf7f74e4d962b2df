"""GoogLeNet as published: BVLC's weights say what BVLC's network says, at every size, and it trains with or without heads."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from escrime import EscrimeError, load_model
from escrime.data import IMAGENET_INDICES
from escrime.models import build, load_weights, logits_and_auxiliary, numerical_difference, prepare, save_weights
from escrime.models.fast.prepare import trace
from escrime.models.googlenet_bvlc import local_response_norm


@pytest.fixture(scope="module")
def published(shared):
    return shared / "models" / "bvlc_googlenet-imagenet1k.safetensors"


@pytest.fixture(scope="module")
def small():
    """Four classes, random weights, without auxiliary heads."""
    return build("googlenet_bvlc", 4, seed=0)


def reference_image() -> torch.Tensor:
    return ((torch.arange(3 * 224 * 224) * 37) % 256 / 255).reshape(1, 3, 224, 224)


@pytest.mark.shared
def test_reference_logits(published):
    """../shared/README.md gives them, of another implementation."""
    found = load_model(f"googlenet_bvlc@{published}")
    with torch.no_grad():
        logits = found.model(reference_image())[0]
    values, places = logits.topk(3)
    assert places.tolist() == [904, 556, 828]
    assert torch.allclose(values, torch.tensor([14.2018, 9.9168, 8.7775]), atol=1e-4)
    assert torch.allclose(logits[[0, 217, 482]], torch.tensor([0.21980, -2.67840, 1.61465]), atol=1e-4)
    assert found.wnids[217] == "n02102040" and found.size == 224
    assert found.normalization == "mean 0.4824, 0.4588, 0.4078, std 0.0039, from escrime"
    assert numerical_difference(found.model, prepare(found.model), reference_image()) < 1e-4


@pytest.mark.shared
def test_the_file_is_loaded_as_it_is_and_its_head_cut_to_the_ten(published):
    tensors, image = load_file(published), reference_image()[:, :, :64, :64]
    whole = build("googlenet_bvlc", 1000, weights=published)
    assert {name: tensor.shape for name, tensor in whole.network.state_dict().items()} == {
        k: t.shape for k, t in tensors.items()
    }
    ten = build("googlenet_bvlc", 10, weights=published, head="slice", class_indices=IMAGENET_INDICES)
    fresh = build("googlenet_bvlc", 10, weights=published, seed=1)
    with torch.no_grad():
        assert torch.allclose(ten(image), whole(image)[:, list(IMAGENET_INDICES)], atol=1e-5)
        assert not torch.allclose(fresh(image), ten(image), atol=1e-2)
    assert torch.equal(fresh.network.conv1["7x7_s2"].weight, tensors["conv1.7x7_s2.weight"])


def test_blue_comes_first_from_0_to_255_less_the_mean(small):
    seen = []
    hook = small.network.conv1["7x7_s2"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    small(images)
    hook.remove()
    wanted = images[:, [2, 1, 0]] * 255 - torch.tensor([104.0, 117.0, 123.0]).view(1, 3, 1, 1)
    assert torch.allclose(seen[0], wanted, atol=1e-3)


@pytest.mark.parametrize("size, left", [(64, 2), (75, 2), (100, 3)])
def test_any_size(small, size, left):
    """Pools round up, as Caffe's do: so 64 px leave 2×2 before the average."""
    shapes = []
    hook = small.network.inception_5b.register_forward_hook(lambda *given: shapes.append(given[2].shape))
    with torch.no_grad():
        assert small(torch.rand(2, 3, size, size)).shape == (2, 4)
    hook.remove()
    assert shapes == [(2, 1024, left, left)]


def test_local_response_norm_is_torchs():
    """α is divided by the size in both, the channels at either end have fewer neighbors."""
    x = torch.randn(2, 9, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 200
    assert torch.allclose(local_response_norm(x), F.local_response_norm(x, 5, 1e-4, 0.75, 1.0), rtol=1e-12)
    x = x[:1, :, :2, :2].clone().requires_grad_()
    assert torch.autograd.gradcheck(local_response_norm, x) and torch.autograd.gradgradcheck(local_response_norm, x)


def test_it_can_be_traced_so_that_training_runs_its_convolutions_together(small):
    assert trace(small, root=True) is not None and trace(build("googlenet_bvlc_auxiliary", 4), root=True) is not None


def test_auxiliary_heads_are_of_training_alone(tmp_path, images):
    model = build("googlenet_bvlc_auxiliary", 4, seed=0)
    logits, others = logits_and_auxiliary(model.train(), images)
    assert [tuple(other.shape) for other in others] == [(4, 4), (4, 4)]
    others[0].sum().backward()
    assert model.network.loss1.fc.weight.grad is not None, "the first is nearest to the input"
    assert model.network.loss2.fc.weight.grad is None
    logits, others = logits_and_auxiliary(model.eval(), images)
    assert others == [] and logits.shape == (4, 4)


def test_weights_pass_between_the_two(tmp_path, small, images):
    """Those with heads leave them behind, those without get fresh ones; a strange tensor is still refused."""
    heads = build("googlenet_bvlc_auxiliary", 4, seed=1)
    save_weights(heads, tmp_path / "heads.safetensors")
    save_weights(small, tmp_path / "small.safetensors")
    with torch.no_grad():
        assert torch.equal(build("googlenet_bvlc", 4, weights=tmp_path / "heads.safetensors")(images), heads(images))
        grown = build("googlenet_bvlc_auxiliary", 4, weights=tmp_path / "small.safetensors", seed=1)
        assert torch.equal(grown(images), small(images))
    assert torch.equal(grown.network.loss1.fc.weight, heads.network.loss1.fc.weight)
    assert load_weights(build("googlenet_bvlc", 4), tmp_path / "small.safetensors")
    save_file(small.network.state_dict() | {"loss4.fc.weight": torch.zeros(2)}, tmp_path / "strange.safetensors")
    with pytest.raises(EscrimeError, match="loss4.fc.weight unexpected"):
        build("googlenet_bvlc", 4, weights=tmp_path / "strange.safetensors")


def test_dropout_in_training_alone(small, images):
    small.train()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        assert not torch.equal(small(images), small(images))
    small.eval()
    assert torch.equal(small(images), small(images))
