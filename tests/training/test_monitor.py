"""Probing while training: what it measures, what it leaves alone, which weights are kept, and what a resumed run agrees on."""

import warnings

import numpy as np
import pytest
import torch

from escrime import FGSM, PGD
from escrime.errors import EscrimeError
from escrime.models import load_weights
from escrime.training import TrainSettings, fit, objective
from escrime.training import checkpoint as checkpoint_module
from escrime.training.loader import Loader
from escrime.training.overfitting import monitor as monitor_module
from escrime.training.overfitting.holdout import hold_back

EPS = 0.1
GOOD, BETTER, RUINED = (0.9, 0.6, 0.4), (0.9, 0.65, 0.5), (0.95, 0.9, 0.02)
CATASTROPHE, OVERFITS = [GOOD, BETTER, GOOD, RUINED, GOOD], [GOOD, GOOD, BETTER, GOOD, GOOD]
PROBED = ["probe_clean", "probe_fgsm", "probe_pgd"]


class Killed(BaseException):
    """What a kill looks like from inside."""


def settings(**values):
    return TrainSettings(**(dict(epochs=5, batch_size=8, learning_rate=0.05, probe_images=8) | values))


def bits(weights):
    return {name: tensor.numpy().tobytes() for name, tensor in weights.items()}


def kill_after(epoch):
    def on_epoch(record):
        if record["epoch"] == epoch:
            raise Killed

    return on_epoch


def state_after(model_and_data, epoch, goal, **values):
    """The weights of a run that ends after `epoch`; the learning rate is constant, so longer runs pass through them."""
    model, data = model_and_data
    return bits(fit(model, data, goal, settings=settings(epochs=epoch, **values)).model.state_dict())


@pytest.fixture
def scripted(monkeypatch):
    """Let the probe say what it is told, one (clean, FGSM, PGD) per epoch, whatever the model."""

    def script(epochs):
        said = {}

        def probe(model, loader, rows, eps, seed):
            digest = next(model.parameters()).detach().numpy().tobytes()
            said.setdefault(digest, len(said))
            return epochs[said[digest]]  # a resumed run that repeats an epoch hears the same again

        monkeypatch.setattr(monitor_module, "probe", probe)

    return script


def test_the_numbers_are_those_of_the_attacks(network, image_set):
    data, model = image_set(30), network()
    goal = objective("fgsm-mixed", eps=EPS)
    last = fit(model, data, goal, settings=settings(epochs=2, ema=0.5), seed=3).history.iloc[-1]
    _, held = hold_back(data, 8, seed=3)
    images, labels = data.batch(held)
    ids = [data.ids[row] for row in held]
    right = lambda x: (model(x).argmax(dim=1) == labels).float().mean().item()  # noqa: E731
    attacked = [attack(model, images, labels, seed=3, ids=ids) for attack in (FGSM(EPS), PGD(EPS, steps=10))]
    assert [right(x) for x in (images, *attacked)] == pytest.approx(last[PROBED].tolist())  # with EMA: of the average


@pytest.mark.parametrize("ema", [None, 0.9])
def test_the_probe_leaves_no_trace(network, image_set, monkeypatch, ema):
    """Dropout, BatchNorm and the global generators: a run whose probe does nothing ends with the same bits."""
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    goal, model = objective("fgsm-rs", eps=EPS), network()
    modes = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        probed = fit(model, image_set(), goal, settings=settings(ema=ema, on_overfitting="warn"))
    assert torch.equal(torch.get_rng_state(), before[0]) and (np.random.get_state()[1] == before[1]).all()
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    monkeypatch.setattr(monitor_module, "probe", lambda model, *_: modes.append(model.training) or GOOD)
    blind = fit(network(), image_set(), goal, settings=settings(ema=ema))
    assert bits(probed.model.state_dict()) == bits(blind.model.state_dict()) and modes == [True] * 5


class Uncopyable(torch.nn.Sequential):
    """A model that is asked itself, since there can be no faster copy."""

    def __deepcopy__(self, memo):
        raise TypeError("not this one")


def test_a_model_without_a_copy_is_left_alone_too(network, image_set):
    model = Uncopyable(*network()).train()
    loader, rows = Loader(image_set(), torch.device("cpu")), np.arange(2, 20)
    before, state = torch.get_rng_state(), bits(model.state_dict())
    values = monitor_module.probe(model, loader, rows, EPS, seed=0)
    assert all(module.training for module in model.modules()) and bits(model.state_dict()) == state
    assert torch.equal(torch.get_rng_state(), before)
    assert values == pytest.approx(monitor_module.probe(network(), loader, rows, EPS, seed=0))


def test_keep_says_which_weights_the_model_holds(network, image_set, tmp_path, scripted):
    ends = {}
    for keep in ("last", "best"):
        scripted(OVERFITS)
        run = dict(settings=settings(keep=keep, ema=0.5), checkpoint=tmp_path / keep)
        result = ends[keep] = fit(network(), image_set(), objective("pgd", steps=1), **run)
        assert result.best_epoch == 3 and result.history.probe_pgd.tolist() == [row[2] for row in OVERFITS]
        assert len(result.warnings) == 1 and "robust overfitting" in result.warnings[0]
        assert sorted(path.name for path in (tmp_path / keep).iterdir()) == [".lock", "best.safetensors", "last.safetensors"]
        assert bits(load_weights(network(), tmp_path / keep / "best.safetensors").state_dict()) == bits(result.best_weights)
    best, last = (bits(ends[keep].model.state_dict()) for keep in ("best", "last"))
    assert best == bits(ends["best"].best_weights) == bits(ends["last"].best_weights) != last
    scripted(OVERFITS)
    assert best == state_after((network(), image_set()), 3, objective("pgd", steps=1), ema=0.5)
    scripted([GOOD] * 5)
    assert last == state_after((network(), image_set()), 5, objective("pgd", steps=1), ema=0.5)


def test_catastrophic_overfitting_stops(network, image_set, tmp_path, scripted):
    scripted(CATASTROPHE)
    seen = []
    with pytest.warns(UserWarning, match="catastrophic overfitting in epoch 4.*weights of epoch 2") as broadcast:
        result = fit(
            network(), image_set(), "fgsm-mixed", settings=settings(), checkpoint=tmp_path, on_epoch=seen.append
        )  # fmt: skip
    assert len(broadcast) == 1 and result.warnings == [str(broadcast[0].message)]
    assert broadcast[0].filename == __file__, "a warning points at the line that called fit"
    assert len(result.history) == len(seen) == 4 and result.best_epoch == 2
    scripted(CATASTROPHE)
    good = state_after((network(), image_set()), 2, "fgsm-mixed")
    assert bits(result.model.state_dict()) == bits(result.best_weights) == good
    again = fit(network(), image_set(), "fgsm-mixed", settings=settings(), checkpoint=tmp_path)  # is over, and stays so
    assert again.resumed == 4 and bits(again.model.state_dict()) == good and again.warnings == result.warnings


def test_it_may_go_on_with_a_warning(network, image_set, tmp_path, scripted):
    scripted(CATASTROPHE)
    with pytest.warns(UserWarning, match="catastrophic.*goes on") as broadcast:
        whole = fit(network(), image_set(), "fgsm-mixed", settings=settings(on_overfitting="warn"))
    assert len(broadcast) == 1 and len(whole.history) == 5 and len(whole.warnings) == 1
    scripted(CATASTROPHE)
    with pytest.warns(UserWarning, match="stopped"):
        fit(network(), image_set(), "fgsm-mixed", settings=settings(), checkpoint=tmp_path)
    more = fit(network(), image_set(), "fgsm-mixed", settings=settings(on_overfitting="warn"), checkpoint=tmp_path)
    assert more.resumed == 4 and bits(more.model.state_dict()) == bits(whole.model.state_dict())


@pytest.mark.parametrize("killed", [1, 2, 3, 4])
@pytest.mark.parametrize("values", [dict(keep="best", ema=0.5), dict(augment="flip", optimizer="adamw")])
def test_a_resumed_run_agrees_in_everything(network, image_set, tmp_path, killed, values):
    goal, data = objective("fgsm-rs", eps=EPS), image_set(40)
    whole = fit(network(), data, goal, settings=settings(**values), seed=3)
    run = dict(settings=settings(**values), seed=3, checkpoint=tmp_path)
    with pytest.raises(Killed):
        fit(network(), data, goal, **run, on_epoch=kill_after(killed))
    torch.rand(7)
    resumed = fit(network(), data, goal, **run)
    assert resumed.resumed == killed and resumed.best_epoch == whole.best_epoch and resumed.warnings == whole.warnings
    assert bits(resumed.model.state_dict()) == bits(whole.model.state_dict())
    assert bits(resumed.best_weights) == bits(whole.best_weights)
    compared = [name for name in whole.history if name not in ("seconds", "images_per_second")]
    assert resumed.history[compared].equals(whole.history[compared])


@pytest.mark.parametrize("killed, found", [(1, 1), (2, 1), (3, 3), (4, 3)])
def test_new_best_weights_are_written_however_long_it_takes(network, image_set, tmp_path, scripted, monkeypatch, killed, found):
    """Epochs 1 and 3 are the best so far; epochs 2 and 4 are not worth a slow disk's time."""
    monkeypatch.setattr("escrime.training.checkpoint.QUICK", 0.0)
    monkeypatch.setattr("escrime.training.checkpoint.SHARE", 1e9)
    scripted(OVERFITS)
    whole = fit(network(), image_set(), "fgsm-mixed", settings=settings(keep="best"))
    scripted(OVERFITS)
    run = dict(settings=settings(keep="best"), checkpoint=tmp_path)
    with pytest.raises(Killed):
        fit(network(), image_set(), "fgsm-mixed", **run, on_epoch=kill_after(killed))
    resumed = fit(network(), image_set(), "fgsm-mixed", **run)
    assert resumed.resumed == found and resumed.best_epoch == whole.best_epoch == 3
    assert bits(resumed.model.state_dict()) == bits(whole.model.state_dict())


@pytest.mark.parametrize("failing", range(1, 9))
def test_a_kill_between_the_two_files_loses_nothing(network, image_set, tmp_path, scripted, monkeypatch, failing):
    """Epochs 1 and 3 write two files, the others one; the run is killed at any of these writes."""
    scripted(OVERFITS)
    whole = fit(network(), image_set(), "fgsm-mixed", settings=settings(keep="best"))
    save, calls = checkpoint_module.save_file, []

    def killed(tensors, path, metadata):
        calls.append(path)
        if len(calls) == failing:
            raise Killed
        save(tensors, path, metadata)

    monkeypatch.setattr(checkpoint_module, "save_file", killed)
    run = dict(settings=settings(keep="best"), checkpoint=tmp_path)
    if failing <= 7:
        scripted(OVERFITS)
        with pytest.raises(Killed):
            fit(network(), image_set(), "fgsm-mixed", **run)
    resumed = fit(network(), image_set(), "fgsm-mixed", **run)
    assert resumed.best_epoch == 3 and bits(resumed.model.state_dict()) == bits(whole.model.state_dict())
    assert bits(load_weights(network(), tmp_path / "best.safetensors").state_dict()) == bits(whole.best_weights)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "best.safetensors", "last.safetensors"]


def test_another_best_file_is_refused(network, image_set, tmp_path, scripted):
    scripted(OVERFITS)
    run = dict(settings=settings(), checkpoint=tmp_path)
    fit(network(), image_set(), "fgsm-mixed", **run)
    path = tmp_path / "best.safetensors"
    content = path.read_bytes()
    for damage in (content[:100], content.replace(b'\\"epoch\\": 3', b'\\"epoch\\": 2')):
        assert damage != content
        path.write_bytes(damage)
        with pytest.raises(EscrimeError, match="best weights after epoch 3; put that file back"):
            fit(network(), image_set(), "fgsm-mixed", **run)
    path.unlink()
    with pytest.raises(EscrimeError, match="does not exist.*put that file back"):
        fit(network(), image_set(), "fgsm-mixed", **run)


def test_which_settings_make_another_run(network, image_set, tmp_path):
    fit(network(), image_set(), "clean", settings=settings(), checkpoint=tmp_path / "clean")
    fit(network(), image_set(), "clean", settings=settings(probe_images=0), checkpoint=tmp_path / "clean")  # never probed
    fit(network(), image_set(), "n-fgsm", settings=settings(), checkpoint=tmp_path / "hard")
    fit(network(), image_set(), "n-fgsm", settings=settings(keep="best"), checkpoint=tmp_path / "hard")
    with pytest.raises(EscrimeError, match="probe images is 8, here it is 6"):
        fit(network(), image_set(), "n-fgsm", settings=settings(probe_images=6), checkpoint=tmp_path / "hard")


@pytest.mark.parametrize(
    "values, words",
    [
        ({"probe_images": -1}, "probe_images = -1"),
        ({"probe_images": 2.5}, "probe_images = 2.5"),
        ({"probe_image": 8}, "Did you mean 'probe_images'"),
        ({"on_overfitting": "stopp"}, "Did you mean 'stop'"),
        ({"keep": "bets"}, "Did you mean 'best'"),
        ({"keep": "best", "probe_images": 0}, "set probe_images"),
    ],
)
def test_bad_settings_are_one_sentence(values, words):
    with pytest.raises(EscrimeError, match=words):
        settings(**values)
