"""Training on a GPU: every objective in both precisions, the images resident there, a run continued."""

import numpy as np
import pytest
import torch

import escrime
from escrime.data import ImageSet
from escrime.training import OBJECTIVES, TrainSettings, fit, objective
from escrime.training.loader import Loader

if not torch.cuda.is_available():
    pytest.skip("torch sees no CUDA GPU here", allow_module_level=True)

GPU = torch.device("cuda", 0)


@pytest.fixture
def easy():
    """Four classes told apart by which quarter of a noisy image is bright."""
    rng, labels = np.random.default_rng(0), np.arange(256) % 4
    images = rng.integers(0, 120, (256, 3, 16, 16), dtype=np.uint8)
    for image, label in zip(images, labels):
        image[:, 8 * (label // 2) :, 8 * (label % 2) :][:, :8, :8] += 100
    return ImageSet("easy", images, labels, tuple(map(str, range(256))), tuple("abcd"))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_learns(name, precision, easy):
    goal = objective(name, eps="8/255") if hasattr(OBJECTIVES[name], "eps") else objective(name)
    settings = TrainSettings(
        epochs=6, batch_size=32, learning_rate=0.05, precision=precision, augment="crop", ema=0.9, clip_gradient=1.0
    )
    model = escrime.build("wide_resnet_small", 4, seed=0)
    found = fit(model, easy, goal, settings=settings, device="cuda", evaluate_on=easy)
    assert next(model.parameters()).device.type == "cuda"
    assert found.history.test_accuracy.iloc[-1] > 0.9


def test_images_are_resident_and_exact(easy):
    loader = Loader(easy, GPU)
    assert loader._resident.device == GPU
    rows = np.array([5, 0, 255])
    pixels, labels = loader.pixels(rows)
    assert torch.equal(loader.floats(pixels).cpu(), easy.batch(rows.tolist())[0]) and labels.tolist() == [1, 0, 3]


def test_the_same_views_as_on_the_cpu(easy):
    from escrime.training.augment import augment
    from escrime.training.noise import EpochNoise, image_keys

    draws, rows = EpochNoise(image_keys(0, easy.ids), 1), np.arange(256)
    images = torch.from_numpy(easy.images)
    settings = TrainSettings(augment="flip+crop+resized-crop", crop_size=12)
    views = [augment(x, lambda p: draws.fractions(p, rows), settings).cpu() for x in (images, images.cuda())]
    gap = (views[0].int() - views[1].int()).abs()
    assert gap.max() <= 1 and (gap > 0).float().mean() < 0.01  # bilinear sums that round to either side


def test_a_run_is_continued_and_watched(easy, tmp_path):
    goal = objective("n-fgsm", eps="8/255")
    settings = dict(batch_size=32, learning_rate=0.05, probe_images=64)

    def run(epochs, folder):
        model = escrime.build("wide_resnet_small", 4, seed=0)
        return fit(model, easy, goal, settings=TrainSettings(epochs=epochs, **settings), checkpoint=folder, device="cuda")

    stopped = tmp_path / "stopped"

    class Stop(Exception):
        pass

    def stop(record):
        if record["epoch"] == 2:
            raise Stop

    model = escrime.build("wide_resnet_small", 4, seed=0)
    with pytest.raises(Stop):
        fit(model, easy, goal, settings=TrainSettings(epochs=4, **settings), checkpoint=stopped, device="cuda", on_epoch=stop)
    continued, whole = run(4, stopped), run(4, tmp_path / "whole")
    assert continued.resumed == 2 and len(continued.history) == 4
    assert continued.history.probe_pgd.iloc[-1] == pytest.approx(whole.history.probe_pgd.iloc[-1], abs=0.1)
    assert whole.best_epoch is not None


def test_global_random_state_is_left_alone(easy):
    before = torch.cuda.get_rng_state(GPU), torch.get_rng_state()
    fit(escrime.build("lenet", 4, seed=0), easy, settings=TrainSettings(epochs=1), device="cuda")
    assert torch.equal(before[0], torch.cuda.get_rng_state(GPU)) and torch.equal(before[1], torch.get_rng_state())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_learns_from_a_teacher(precision, easy):
    """The labels say nothing; the teacher, which the CPU holds, tells the upper half from the lower."""

    class Upper(torch.nn.Module):
        def forward(self, images):
            upper = 50 * (images[:, :, :8].mean((1, 2, 3)) - images[:, :, 8:].mean((1, 2, 3)))
            return torch.stack([upper, -upper, upper - 50, upper - 50], 1)

    blank = ImageSet("blank", easy.images, np.zeros(256, int), easy.ids, easy.classes)
    model = escrime.build("wide_resnet_small", 4, seed=0)
    settings = TrainSettings(epochs=6, batch_size=32, learning_rate=0.05, precision=precision, teacher_weight=1.0)
    fit(model, blank, objective("fgsm-mixed", eps="2/255"), settings=settings, device="cuda", teacher=Upper())
    with torch.no_grad():
        said = model(easy.batch(slice(None), "cuda")[0]).argmax(1).cpu().numpy()
    assert (said == (easy.labels >= 2)).mean() > 0.9
