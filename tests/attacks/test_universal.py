"""Universal perturbations and patches: fitted on some images, judged by others, with optima known on linear models."""

import pytest
import torch
from attack_cases import UNIVERSAL, Linear, Rowwise, grey, scaled
from torch import nn

from escrime import EscrimeError, PredictionAveraging
from escrime.attacks import ATTACKS, UniversalPatch, UniversalPGD, universal_patch
from escrime.attacks.core import fitting
from escrime.attacks.core.pictures import read_picture, write_picture
from escrime.attacks.core.placing import pasted
from escrime.norms import norm

EVERY = pytest.mark.parametrize("attack", UNIVERSAL, ids=repr)


@pytest.fixture
def halves():
    """A model that computes every row by itself, and images in two parts, none of the class that some attacks are to reach."""
    images = torch.rand(300, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    model = Rowwise()
    labels = model(images).argmax(1).detach()
    images, labels = images[labels != 3], labels[labels != 3]
    return model, (images[:40], labels[:40]), (images[40:60], labels[40:60])


def one_class(model, images):
    """The images of the commonest class, with it and the rest of them: what moves one of them moves all the same way."""
    labels = model(images).argmax(1)
    common = int(labels.bincount().argmax())
    return images[labels == common], labels[labels == common]


@pytest.mark.parametrize(("name", "eps"), [("linf", 0.05), ("l2", 0.5)])
def test_of_a_linear_model_it_is_the_known_optimum(name, eps):
    """Of two classes w·x + b, all images of one: the margin of every image falls by ε·‖w‖ in the dual norm, and no δ takes
    more."""
    model = Linear(classes=2)
    images, labels = one_class(model, grey(80))
    slope = (model.weight[1] - model.weight[0]).detach() * (1 - 2 * int(labels[0]))
    best = eps * (slope.sign() if name == "linf" else slope / slope.norm()).view(images[0].shape)
    fitted = UniversalPGD(eps, norm=name, steps=20).fit(model, images[:20], labels[:20])
    assert torch.allclose(fitted.made[eps], best, atol=1e-3 * eps)
    moved = fitted(model, images[20:], labels[20:])
    assert norm(name).inside(moved, images[20:], eps).all()
    assert torch.allclose(moved, images[20:] + best, atol=1e-3 * eps), "images that it was not fitted on"


def test_a_patch_of_a_linear_model_is_the_known_optimum():
    """Whose slope is the same at every place: the colors that lower the margin most are the ends of the color range."""

    class Even(nn.Module):
        weight = torch.tensor([0.9, -1.0, 0.4])

        def forward(self, x):
            score = (x * self.weight.view(1, 3, 1, 1)).sum((1, 2, 3))
            return torch.stack([torch.zeros_like(score), score], dim=1)

    images, labels = grey(40, (3, 6, 6)), torch.zeros(40, dtype=torch.long)
    fitted = UniversalPatch(3, steps=10, restarts=1).fit(Even(), images[:20], labels[:20])
    assert torch.equal(fitted.made[3.0], (Even.weight > 0).float().view(3, 1, 1).expand(3, 3, 3))
    moved = fitted(Even(), images[20:], labels[20:])
    gained = (Even()(moved) - Even()(images[20:]))[:, 1]
    changed = (moved != images[20:]).any(1)
    by_hand = ((fitted.made[3.0].mean((1, 2)).view(1, 3, 1, 1) - images[20:]) * changed[:, None]).mul(
        Even.weight.view(1, 3, 1, 1)
    )
    assert torch.allclose(gained, by_hand.sum((1, 2, 3)), atol=1e-4) and (gained > 0).all()


@EVERY
def test_it_fools_images_that_it_was_not_fitted_on(attack, halves):
    model, seen, others = halves
    fitted = attack.fit(model, *seen)
    moved = fitted(model, *others)
    assert norm(attack.norm).inside(moved, others[0], attack.eps).all() and not torch.equal(moved, others[0])
    if attack.target is None:
        assert (model(moved).argmax(1) != others[1]).float().mean() >= 0.25
    else:
        free = others[1] != attack.target
        assert (model(moved).argmax(1) == attack.target)[free].any()


@EVERY
def test_it_is_not_judged_by_what_it_was_fitted_on(attack, halves):
    model, (images, labels), (other, theirs) = halves
    fitted = attack.fit(model, images, labels, ids=[f"a{i}" for i in range(len(images))])
    mixed, truth = torch.cat([other[:3], images[:1]]), torch.cat([theirs[:3], labels[:1]])
    assert fitted.has_seen(mixed).tolist() == [False, False, False, True]
    with pytest.raises(EscrimeError, match=r"was fitted on image 'x' \(1 of 4 images\).* judge it by images that it has not"):
        fitted(model, mixed, truth, ids=["p", "q", "r", "x"])
    again = attack.fit(model, images.flip(0), labels.flip(0), ids=[f"a{i}" for i in reversed(range(len(images)))])
    assert again.fitted_on == fitted.fitted_on != attack.fit(model, other, theirs).fitted_on
    with pytest.raises(EscrimeError, match="is fitted on some images and attacks others"):
        attack(model, other, theirs)


@EVERY
def test_the_same_in_any_batch_and_order(attack, halves, monkeypatch):
    """Of what it is fitted on, and of what it attacks."""
    model, (images, labels), (other, theirs) = halves
    ids = [f"image {n}" for n in range(40)]
    whole = attack.fit(model, images, labels, ids=ids, seed=5)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr("escrime.models.running.network_batch", lambda images: 3)
    again = attack.fit(model, images[order], labels[order], ids=[ids[n] for n in order], seed=5)
    for eps, made in whole.made.items():
        assert torch.equal(again.made[eps], made)
    assert (again.forwards, again.backwards) == (whole.forwards, whole.backwards)
    moved = whole(model, other, theirs, seed=5)
    for rows in (torch.arange(19, -1, -1), torch.tensor([7]), torch.tensor([0, 11])):
        assert torch.equal(whole(model, other[rows], theirs[rows], ids=rows.tolist(), seed=5), moved[rows])


@EVERY
def test_every_epsilon_has_its_own(attack, halves):
    model, seen, (images, labels) = halves
    grid = scaled(attack, [0.01, 0.02]) if attack.norm == "patch" else [attack.eps / 2, attack.eps]
    fitted = attack.fit(model, *seen, epsilons=grid)
    assert fitted.eps == max(grid)
    none, small, large = fitted.sweep(model, images, labels, [0.0, *grid])
    assert torch.equal(none.adversarial, images) and not torch.equal(small.adversarial, large.adversarial)
    for eps, found in zip(grid, (small, large), strict=True):
        assert norm(attack.norm).inside(found.adversarial, images, eps).all() and not found.forwards.any()
    each = torch.tensor([0.0, *grid] * 6 + [0.0] * 2, dtype=torch.float64)
    mixed = fitted.sweep(model, images, labels, [each])[0].adversarial
    assert torch.equal(mixed[1:18:3], small.adversarial[1:18:3]) and torch.equal(mixed[2:18:3], large.adversarial[2:18:3])
    with pytest.raises(EscrimeError, match=f"{attack.name} was fitted at ε = .* not at"):
        fitted.sweep(model, images, labels, [3.0 if attack.norm == "patch" else 0.777])
    with pytest.raises(EscrimeError, match="has one ε; give a number"):
        attack.fit(model, *seen, epsilons=[grid])


@EVERY
@pytest.mark.parametrize("own", [False, True])
def test_pixels_outside_of_a_mask_stay_to_the_last_bit(attack, own, halves):
    model, (images, labels), (other, theirs) = halves
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[1:, 1:3] = True
    masks = [mask, mask]
    if own:  # one for each image
        masks = [torch.rand(len(x), 1, 4, 4, generator=torch.Generator().manual_seed(2)) < 0.5 for x in (images, other)]
        for each in masks:
            each[:, 0, 0, 0] = True
    fitted = attack.fit(model, images, labels, mask=masks[0])
    moved = fitted(model, other, theirs, mask=masks[1])
    allowed = masks[1].expand(len(other), 1, 4, 4)
    assert torch.equal(moved.where(allowed, other), moved) and not torch.equal(moved, other)
    assert norm(attack.norm).inside(moved, other, attack.eps).all()
    if not own and attack.norm != "patch":
        assert not fitted.made[attack.eps][:, ~mask].any()


@EVERY
def test_fitting_leaves_no_trace(attack, network, images, labels):
    modes, wanted = [m.training for m in network.modules()], [p.requires_grad for p in network.parameters()]
    state, random = {k: v.clone() for k, v in network.state_dict().items()}, torch.random.get_rng_state()
    attack.fit(network, images, labels)
    assert [m.training for m in network.modules()] == modes and [p.requires_grad for p in network.parameters()] == wanted
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters()) and torch.equal(random, torch.random.get_rng_state())


@EVERY
def test_what_cannot_be_fitted_is_named(attack, linear, network, images, labels):
    with pytest.raises(EscrimeError, match="was given no images.* to be fitted on"):
        attack.fit(linear, images[:0], labels[:0])
    with pytest.raises(EscrimeError, match="class 7, but the model has 4"):
        attack.fit(linear, images, torch.full((9,), 7))
    with pytest.raises(EscrimeError, match="'d'"):

        class Broken(nn.Module):
            def forward(self, x):
                logits = linear(x)
                return logits.masked_fill((torch.cdist(x.flatten(1), images.flatten(1)).argmin(1) == 3)[:, None], float("nan"))

        attack.fit(Broken(), images, (labels + 1) % 3, ids=list("abcdefghi"))


def test_images_of_the_target_are_left_out(halves):
    model, (images, labels), _ = halves
    attack, keep = UniversalPGD(0.1, steps=4, target=1), labels != 1
    ids = list(range(40))
    whole = attack.fit(model, images, labels, ids=ids)
    some = attack.fit(model, images[keep], labels[keep], ids=[n for n in ids if keep[n]])
    assert 0 < keep.sum() < 40 and torch.equal(whole.made[0.1], some.made[0.1]) and whole.seen == some.seen
    with pytest.raises(EscrimeError, match="no images that are not of class 1 already"):
        attack.fit(model, images[~keep], labels[~keep])


def test_no_more_images_than_asked_for(halves):
    model, (images, labels), _ = halves
    assert len(UniversalPGD(0.1, steps=2, fit_images=7).fit(model, images, labels).seen) == 7


@EVERY
def test_a_randomized_model(attack, network, images, labels):
    labels = labels % 3  # none is the class that some attacks are to reach
    fitted = attack.against_noise(3).fit(PredictionAveraging(network, 0.1, samples=2), images[:6], labels[:6])
    assert fitted.attack.eot == 3 and fitted.against_noise(5) is fitted
    assert norm(attack.norm).inside(fitted(network, images[6:], labels[6:]), images[6:], attack.eps).all()


def test_images_at_an_edge_of_the_box_do_not_pull_beyond_it():
    """Black images cannot get darker: their gradients that ask for it are no reason to make the others darker."""

    class Bright(nn.Module):
        def forward(self, x):
            mean = x.mean((1, 2, 3))
            return torch.stack([0.5 + 0 * mean, torch.where(mean < 0.2, -5 * mean, mean)], dim=1)

    images = torch.cat([torch.zeros(12, 1, 2, 2), torch.full((8, 1, 2, 2), 0.45)])
    fitted = UniversalPGD(0.1, steps=40, restarts=1).fit(Bright(), images, torch.zeros(20, dtype=torch.long))
    assert fitted.made[0.1].abs().max() < 0.01


def test_of_several_runs_the_one_that_fools_most_is_kept(halves, monkeypatch):
    model, (images, labels), _ = halves
    made = []
    run = fitting.Fitting._run
    monkeypatch.setattr(fitting.Fitting, "_run", lambda self, *how: made.append(run(self, *how)) or made[-1])
    attack = UniversalPGD(0.1, steps=3, batch=4, restarts=6)
    kept = attack.fit(model, images, labels).made[0.1]
    left = [float((model((images + each).clamp(0, 1)).argmax(1) == labels).float().mean()) for each in made]
    assert len(made) == 6 and min(left) < max(left)
    assert left[[torch.equal(each, kept) for each in made].index(True)] == min(left)


def test_a_patch_lies_where_nobody_chose_within_its_square():
    """Turned and smaller, each at a place of its own; all places are used, and a whole square where it is not turned."""
    images, eps = torch.zeros(300, 1, 9, 12), torch.full((300,), 4.0)
    patch = torch.full((300, 1, 4, 4), 0.5)
    still = pasted(patch, images, eps, torch.arange(300), None, 0.0, 1.0) != 0
    assert (still.flatten(1).sum(1) == 16).all()
    corners = {(int(row.any(1).int().argmax()), int(row.any(0).int().argmax())) for row in still[:, 0]}
    assert corners == {(top, left) for top in range(6) for left in range(9)}
    turned = pasted(patch, images, eps, torch.arange(300), None, 45.0, 0.5)
    sides = norm("patch").distance(turned, images)
    assert sides.unique().tolist() == [2, 4]  # rows of pixel centers
    exact = torch.rand(1, 3, 4, 4).expand(300, 3, 4, 4)
    shown = pasted(exact, torch.full((300, 3, 9, 12), 2.0), eps, torch.arange(300), None, 0.0, 1.0)
    assert torch.allclose(shown[shown != 2].reshape(300, 3, 16), exact.flatten(2), atol=1e-5)


def test_a_masked_patch_lies_where_most_of_it_may():
    mask = torch.zeros(50, 1, 8, 8, dtype=torch.bool)
    mask[:, :, 2:7, 3:6] = True
    shown = pasted(torch.ones(50, 1, 3, 3), torch.zeros(50, 1, 8, 8), torch.full((50,), 3.0), torch.arange(50), mask, 0.0, 1.0)
    assert (shown.flatten(1).sum(1) == 9).all() and len({tuple(row.flatten().tolist()) for row in shown}) == 3


def test_images_are_fitted_on_from_several_views():
    """Shifted by up to a tenth, and mirrored or not, whichever others are in the batch."""
    images = torch.rand(40, 2, 10, 20, generator=torch.Generator().manual_seed(0))
    keys = torch.arange(40)
    views = fitting._seen_otherwise(images, keys)
    allowed = {}
    for image, view in zip(images, views):
        found = [
            (down, right, mirrored)
            for down in (-1, 0, 1)
            for right in (-2, -1, 0, 1, 2)
            for mirrored in (False, True)
            if torch.equal(view, (image.flip(2) if mirrored else image).roll((down, right), (1, 2)))
        ]
        assert len(found) == 1
        allowed[found[0]] = True
    assert len(allowed) > 15
    assert torch.equal(fitting._seen_otherwise(images[[7, 3]], keys[[7, 3]]), views[[7, 3]])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_patch_comes_out_of_its_png_as_it_went_in(channels, tmp_path):
    """To the last bit: what is printed is what was judged."""
    model = Rowwise((channels, 4, 4))
    images = torch.rand(30, channels, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = model(images).argmax(1)
    attack = UniversalPatch(3, steps=40)
    fitted = attack.fit(model, images[:20], labels[:20])
    fitted.save(tmp_path / "patch.png")
    again = attack.read(tmp_path / "patch.png", channels)
    assert torch.equal(again.made[3.0], fitted.made[3.0]) and again.eps == 3
    moved = fitted(model, images[20:], labels[20:], seed=4)
    assert torch.equal(again(model, images[20:], labels[20:], seed=4), moved)
    assert len(fitted.made[3.0].unique()) > 2, "colors between black and white are tried too"
    with pytest.raises(EscrimeError, match="patch.png has 3 × 3 pixels, and ε = 5"):
        UniversalPatch(5).read(tmp_path / "patch.png", channels)
    with pytest.raises(EscrimeError, match="channels = 2 has no picture"):
        attack.read(tmp_path / "patch.png", 2)
    if channels == 3:
        with pytest.raises(EscrimeError, match="patch.png has colors, and the images have one channel"):
            attack.read(tmp_path / "patch.png", 1)


def test_a_picture_of_a_perturbation(tmp_path, halves):
    model, seen, _ = halves
    fitted = UniversalPGD(0.1, steps=4, restarts=1).fit(model, *seen)
    fitted.save(tmp_path / "delta.png")
    shown, made = read_picture(tmp_path / "delta.png", 1), fitted.made[0.1]
    assert torch.allclose(shown, 0.5 + made / (2 * made.abs().max()), atol=0.003)
    with pytest.raises(EscrimeError, match="a picture has 1 or 3 channels, and this has 2"):
        write_picture(tmp_path / "no.png", torch.zeros(2, 4, 4))
    assert not (tmp_path / "no.png").exists()


def test_they_are_found_by_name_and_compared_with_nothing():
    for name in ("UniversalPGD", "UniversalPatch"):
        assert ATTACKS[name].access == "gradients" and ATTACKS[name](4 if "Patch" in name else 0.1).manner == "universal"


def test_the_first_runs_of_a_patch_mix_the_gradients_of_neighbors():
    """By distance, a constant stays one, colors stay apart, and nothing is mixed where the steps end."""
    gradient = torch.zeros(2, 9, 9, dtype=torch.float64)
    gradient[0, 4, 4] = 1
    mixed = universal_patch._smoothed(gradient, 0.15)
    assert mixed[1].abs().max() == 0 and torch.allclose(
        universal_patch._smoothed(gradient[:1] * 0 + 3, 0.15), 0 * gradient[:1] + 3
    )
    assert torch.equal(mixed[0], mixed[0].T) and mixed[0, 4, 4] > mixed[0, 4, 5] > mixed[0, 4, 6] > 0
    assert torch.allclose(universal_patch._smoothed(gradient, 0.0), gradient, atol=1e-12)
    patch, noise = UniversalPatch(9), torch.randn(2, 9, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gray = torch.full((2, 9, 9), 0.5)
    first, second = (patch.stepped(gray, noise, 9, 1.0, run) - gray for run in (0, 1))
    assert torch.equal(second.sign(), noise.sign().float()) and not torch.equal(first.sign(), second.sign())


def test_every_manner_of_stepping_has_its_turn_before_loss_and_beginning_change(monkeypatch, halves):
    """Runs 0 and 1 of a patch step in two ways down the margin from gray, 2 and 3 along cross-entropy from random colors."""
    begun, losses = [], []

    def begin(self, inputs, eps, generator):
        begun.append(generator is None)
        return torch.full((1, 2, 2), 0.5)

    whole = fitting.Fitting._loss

    def loss(self, part, at, restart):
        found = whole(self, part, at, restart)
        logits = torch.tensor([[9.0, 0, 0, 0, 0]]).expand(len(part.labels[at]), -1)
        losses.append((restart, bool((found(logits).abs() > 5).any())))  # cross-entropy is cut off, the margin is not
        return found

    monkeypatch.setattr(UniversalPatch, "begin", begin)
    monkeypatch.setattr(fitting.Fitting, "_loss", loss)
    model, (images, labels), _ = halves
    UniversalPatch(2, steps=1, restarts=4).fit(model, images, labels)
    assert begun == [True, True, False, False]
    assert losses == [(0, True), (1, True), (2, False), (3, False)]


@pytest.mark.parametrize("size", [(1, 8, 8), (3, 8, 9)], ids=["gray", "wider"])
@pytest.mark.parametrize("attack", [UniversalPGD(0.1, steps=2), UniversalPatch(3, steps=2)], ids=lambda attack: attack.name)
def test_images_that_it_was_not_made_for_are_named(attack, size):
    gen = torch.Generator().manual_seed(0)
    images, labels = torch.rand(4, 3, 8, 8, generator=gen), torch.zeros(4, dtype=torch.long)
    model = lambda x: x.flatten(1)[:, :2]  # noqa: E731
    made = attack.fit(model, images, labels)
    others = torch.rand(2, *size, generator=gen)
    if size[0] == 3 and not attack.whole:
        assert made(model, others, labels[:2]).shape == others.shape, "a patch goes on any picture"
        return
    with pytest.raises(EscrimeError, match="was made for other images: it is 3 × .*the images are"):
        made(model, others, labels[:2])
