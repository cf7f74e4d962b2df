"""What every norm promises, the two that there are to the last bit, and that a new one is one class."""

import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import nn

import escrime
from escrime import APGD, FGSM, FMN, PGD, AutoAttack, DeepFool, Effort, Square
from escrime.attacks.random_points import RandomPoints
from escrime.errors import EscrimeError
from escrime.evaluation.quantized import on_the_grid
from escrime.norms import DEFAULT, NORMS, norm, register
from escrime.norms import L2 as Euclidean
from escrime.report.formatting import eps_axis, fraction_text
from escrime.results.rows import read_rows

LINF, L2, L1, L0 = (norm(name) for name in ("linf", "l2", "l1", "l0"))
EVERY = pytest.mark.parametrize("name", [*(name for name in NORMS if not NORMS[name].rendered), "l2half"])


def scaled(name, eps):
    """An ε of l_inf, or a tensor of several, as one of this norm: of l0 as many pixels as hundredths, of a patch a side
    from 1 to 4."""
    if name == "patch":  # of images of 5 × 5 pixels
        return (40 * eps).ceil() if isinstance(eps, torch.Tensor) else float(math.ceil(40 * eps))
    return eps if name != "l0" else (100 * eps).round() if isinstance(eps, torch.Tensor) else float(round(100 * eps))


class L2Half(Euclidean):
    """Half the l2 norm, so that every ε is half as long: all that a new norm has to define."""

    name = "l2half"
    unit = "half the l2 distance"

    def diameter(self, images):
        return super().diameter(images) / 2

    def distance(self, candidates, images):
        return super().distance(candidates, images) / 2

    def project(self, candidates, images, eps):
        return super().project(candidates, images, 2 * eps)

    def clip(self, delta, radius):
        return super().clip(delta, 2 * radius)

    def random_point(self, image, eps, generator):
        return super().random_point(image, 2 * eps, generator)

    def steepest(self, gradient):
        return 2 * super().steepest(gradient)

    def dual(self, gradient):
        return 2 * super().dual(gradient)

    def to_8_bits(self, candidates, images, eps):
        return super().to_8_bits(candidates, images, 2 * eps)


@pytest.fixture(autouse=True)
def half():
    register(L2Half)
    yield
    del NORMS["l2half"]


@pytest.fixture(scope="module")
def digits():
    """A small network, and images of it that are not all robust."""
    gen = torch.Generator().manual_seed(0)
    images, weight = torch.rand(12, 1, 8, 8, generator=gen), torch.randn(10, 64, generator=gen)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    model[1].load_state_dict({"weight": weight, "bias": torch.zeros(10)})
    return model, images, model(images).argmax(1)


def points(seed=0):
    """Images (N, C, H, W) away from the faces of the box, and gradients of their size."""
    gen = torch.Generator().manual_seed(seed)
    shape = (16, 3, 5, 5)
    return 0.3 + 0.4 * torch.rand(shape, generator=gen), torch.randn(shape, generator=gen)


def test_an_unknown_name_is_refused_in_one_sentence():
    for name in ("l3", "", None, 2, ["l2"]):
        with pytest.raises(EscrimeError, match="is unknown; use one of linf, l2"):
            norm(name)
    with pytest.raises(EscrimeError, match="Did you mean 'linf'"):
        PGD(0.1, norm="l_inf")


@EVERY
def test_the_projection_stays_and_changes_nothing_inside(name):
    own, (x, step) = norm(name), points()
    for eps in (scaled(name, 0.02), scaled(name, torch.linspace(0.01, 0.1, len(x), dtype=torch.float64))):
        moved = own.project(x + step, x, eps)
        assert own.inside(moved, x, eps).all() and torch.equal(own.project(moved, x, eps), moved)
        assert (own.distance(moved, x) > 0.99 * torch.as_tensor(eps)).all(), "and as far as the budget goes"
    assert not own.inside((x + step).clamp(0, 1), x, scaled(name, 0.02)).any()
    assert not own.inside(torch.full_like(x, float("nan")), x, 1.0).any()


@EVERY
def test_the_steepest_step_has_length_one_and_gains_the_dual_norm(name):
    own, (x, gradient) = norm(name), points()
    step = own.steepest(gradient)
    assert torch.allclose(own.distance(step, torch.zeros_like(x)), torch.ones(len(x)).double(), atol=1e-6)
    gain = (step * gradient).flatten(1).sum(1)
    assert torch.allclose(gain, own.dual(gradient), rtol=1e-5)
    assert torch.allclose(
        own.dual(torch.stack([gradient, 2 * gradient], dim=1)), gain[:, None] * torch.tensor([1, 2]), rtol=1e-5
    )
    for other in points(1)[1], points(2)[1]:  # no step of length one gains more
        other = other / own.distance(other, torch.zeros_like(x)).float().reshape(-1, 1, 1, 1)
        assert ((other * gradient).flatten(1).sum(1) < gain).all()
    assert own.steepest(torch.zeros_like(gradient)).abs().max() == 0, "where there is no slope there is no step, and no NaN"


@EVERY
def test_random_points_fill_the_ball(name):
    own, x = norm(name), points()[0]
    source, eps = torch.Generator().manual_seed(0), torch.tensor(scaled(name, 0.1))
    delta = torch.stack([own.random_point(x[0], eps, source) for _ in range(100)])
    away = own.distance(delta, torch.zeros_like(delta))
    assert (away <= eps * (1 + 1e-6)).all() and away.median() > 0.9 * eps, (
        "most of a ball of many dimensions is near its surface"
    )
    assert delta.mean().abs() < 0.01


@EVERY
def test_a_clip_goes_no_farther_and_leaves_what_is_inside(name):
    own, (x, delta) = norm(name), points()
    away = own.distance(delta, torch.zeros_like(x))
    assert (own.distance(own.clip(delta, away / 2), torch.zeros_like(x)) <= away / 2 * (1 + 1e-6)).all()
    assert torch.equal(own.clip(delta, away * 2), delta)


@EVERY
def test_the_diameter_goes_from_black_to_white(name):
    own, white = norm(name), torch.ones(2, 3, 5, 5)
    assert float(own.distance(white, torch.zeros_like(white))[0]) == pytest.approx(own.diameter(white))
    assert own.largest == 1 or own.epsilon("8") == 8
    assert own.diameter(white[:0]) == own.diameter(white)


@EVERY
def test_a_file_keeps_the_budget(name):
    own, (x, step) = norm(name), points()
    x = (255 * x).round() / 255
    for eps in (scaled(name, 4 / 255), scaled(name, 0.1)):
        found = on_the_grid(own.project(x + step, x, eps), x, eps, own)
        assert own.inside(found, x, eps).all() and (found != x).any()
        assert torch.equal((255 * found).round() / 255, found)


def test_words_of_a_norm():
    others = [name for name in NORMS if name != DEFAULT]
    assert {"l2", "l2half"} <= set(others) and norm(DEFAULT).in_words == norm(DEFAULT).suffix == ""
    assert [norm(name).in_words for name in others] == [f" in {name}" for name in others]
    assert [norm(name).suffix for name in others] == [f"-{name}" for name in others]
    assert eps_axis(DEFAULT) == "ε (fraction of the color range)" and eps_axis("l2half") == "ε (half the l2 distance)"
    assert fraction_text(4 / 255) == "4/255" and fraction_text(4 / 255, "l2half") == "0.015686"


@pytest.mark.parametrize(
    "attack",
    [FGSM(0.3), PGD(0.3, steps=8, momentum=0.5, random_start=False), FMN(0.3, steps=20), FMN(steps=20)],
    ids=["FGSM", "PGD", "FMN", "FMN-any"],
)
def test_an_attack_in_a_new_norm_is_that_in_the_norm_it_stands_for(digits, attack):
    """Half of every distance is half of ε, and halving rounds nothing."""
    model, images, labels = digits
    moved = replace(attack, norm="l2half")(model, images, labels)
    same = replace(attack, norm="l2", eps=None if attack.eps is None else 2 * attack.eps)
    assert torch.equal(moved, same(model, images, labels)) and not torch.equal(moved, images)


@pytest.mark.parametrize("attack", [PGD(0.3, steps=5), APGD(0.3, steps=5), RandomPoints(0.3, draws=8)], ids=lambda a: a.name)
def test_random_starts_in_a_new_norm_use_its_ball(digits, attack):
    model, images, labels = digits
    moved = replace(attack, norm="l2half", early_stop=False)(model, images, labels)
    away = norm("l2half").distance(moved, images)
    assert (away <= 0.3).all() and away.median() > 0.2, "the box takes some of it"
    assert (model(moved).argmax(1) != labels).any()


def test_the_nearest_example_in_a_new_norm(digits):
    model, images, labels = digits
    half, whole = (NORMS[n].distance(DeepFool(norm=n)(model, images, labels), images) for n in ("l2half", "l2"))
    assert torch.allclose(half, whole / 2, rtol=1e-3)


def test_the_checks_go_without_the_attacks_that_have_nothing_for_a_norm(digits):
    model, images, labels = digits
    attack, effort = PGD(0.3, steps=1, norm="l2half"), Effort(steps=5, queries=20, draws=10)
    found = escrime.evaluate({"net": model}, (images, labels), attack, checks=effort, progress=False)
    own = {finding.id for finding in found.checks if finding.norm == "l2half"}
    assert {"attack-strength", "full-success", "converged"} <= own
    (full,) = (finding for finding in found.checks if finding.id == "full-success")
    assert f"ε = {norm('l2half').diameter(images):.4g} in l2half" in full.message, "not the 1 of l_inf"


def test_an_attack_that_has_nothing_for_a_norm_says_so():
    with pytest.raises(EscrimeError, match="APGD .* l0 .*use PGD"):
        APGD(3, norm="l0")
    for make in (Square, AutoAttack):
        with pytest.raises(EscrimeError, match="Square .* l2half; use one of linf, l2"):
            make(0.3, norm="l2half")


def test_records_are_measured_and_read_in_a_new_norm(digits, tmp_path):
    model, images, labels = digits
    found = escrime.evaluate(
        {"net": model}, (images, labels), PGD(0.3, steps=5, norm="l2half"), epsilons=[0.1, 1.5], checks=False
    )
    attacked = found.records[found.records["attack"] == "PGD"]
    away = attacked["distance"].to_numpy()
    assert set(attacked["norm"]) == {"l2half"} and (away <= attacked["eps"]).all() and away.max() > 1
    assert attacked["verified"].all() and " in l2half" in found.verdicts[0].sentence
    found.records.to_parquet(tmp_path / "part.parquet")
    assert read_rows(tmp_path / "part.parquet").num_rows == len(found.records)
    found.records.assign(norm="linf").to_parquet(tmp_path / "part.parquet")
    with pytest.raises(EscrimeError, match="eps is 1.5, more than the whole color range in linf"):
        read_rows(tmp_path / "part.parquet")


def test_a_report_does_not_wait_for_torch():
    code = "import sys, escrime.norms, escrime.results.rows; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("eps", [0.001, 0.025, 8 / 255, 0.3, 1e-8])
def test_the_box_of_linf_is_exact_and_as_large_as_float32_allows(eps):
    x = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    lower, upper = LINF.box(x, eps)
    for bound, outwards in ((lower, -1.0), (upper, 2.0)):
        assert ((bound.double() - x.double()).abs() <= eps).all()
        further = torch.nextafter(bound, torch.tensor(outwards))
        inside_box = (further >= 0) & (further <= 1)
        assert ((further.double() - x.double()).abs() > eps)[inside_box].all()


def test_naive_addition_would_break_the_bound():
    """Why there is a box: x + ε in float32 steps outside the ball for some pixels."""
    x = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    naive = (x + 0.025).clamp(0, 1)
    assert not LINF.inside(naive, x, 0.025).all()
    assert LINF.inside(LINF.project(naive, x, 0.025), x, 0.025).all()


@pytest.mark.parametrize("eps", [0.01, 0.5, 2.0])
def test_l2_projection_stays_in_ball_and_box_and_keeps_what_is_inside(eps):
    gen = torch.Generator().manual_seed(1)
    x = torch.rand(16, 3, 8, 8, generator=gen)
    far = x + torch.randn(x.shape, generator=gen)
    projected = L2.project(far, x, eps)
    assert L2.inside(projected, x, eps).all()
    near = (x + 1e-5 * torch.randn(x.shape, generator=gen)).clamp(0, 1)
    assert torch.equal(L2.project(near, x, 0.5), near)
    interior = torch.full_like(x, 0.5)
    outwards = interior + 10 * eps * torch.randn(x.shape, generator=gen).sign()
    assert L2.distance(L2.project(outwards, interior, eps), interior).max() <= eps


def test_per_image_epsilon():
    x = torch.full((2, 1, 2, 2), 0.5)
    moved = LINF.project(torch.ones_like(x), x, torch.tensor([0.1, 0.2]))
    assert torch.allclose(LINF.distance(moved, x), torch.tensor([0.1, 0.2], dtype=torch.float64), atol=1e-7)


def test_l2_is_kept_to_the_last_bit_for_thousands_of_images():
    """Some dark images in a hundred exceeded ε by 10⁻⁹ where the difference was taken, and rounded, in float32."""
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(4000, 3, 4, 4, generator=draw) ** 4
    moved = L2.project(images + 0.5 * torch.randn(images.shape, generator=draw), images, 0.5)
    assert L2.inside(moved, images, 0.5).all()
    assert (L2.distance(moved, images) > 0.499).float().mean() > 0.99


def clustered(n, size, seed=0):
    """Images of `size` values in a row, some black or white, and points far from them."""
    gen = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 1, 1, size, generator=gen)
    x = x.where((x > 0.15) & (x < 0.9), x.round())
    return x, x + 1.2 * torch.randn(x.shape, generator=gen)


def test_the_projection_in_l1_is_the_one_of_a_quadratic_program():
    """min ‖v − z‖² in ball ∩ box, δ split into what rises and what falls so that the ball is a plane."""
    x, z = clustered(12, 6)
    for row, eps in enumerate(torch.linspace(0.05, 2.5, 12).tolist()):
        image, far = x[row].double().flatten().numpy(), z[row].double().flatten().numpy()

        def cost(v, image=image, far=far):
            return ((image + v[:6] - v[6:] - far) ** 2).sum()

        plane = {"type": "ineq", "fun": lambda v, eps=eps: eps - v.sum()}
        bounds = [(0, 1 - a) for a in image] + [(0, a) for a in image]
        solved = minimize(cost, [0.01] * 12, bounds=bounds, constraints=plane, method="SLSQP", options={"ftol": 1e-14})
        moved = L1.project(z[row : row + 1], x[row : row + 1], eps)
        assert L1.inside(moved, x[row : row + 1], eps).all()
        found = ((moved.double().flatten().numpy() - far) ** 2).sum()
        assert found == pytest.approx(solved.fun, abs=2e-6)


def test_the_projection_in_l0_is_the_nearest_of_all_choices_of_pixels():
    for seed in range(20):
        x, z = clustered(1, 6, seed)
        keeps = torch.cartesian_prod(*[torch.tensor([False, True])] * 6)[:, None, None]
        choices = z.clamp(0, 1).where(keeps, x)
        for eps in range(7):
            allowed = choices[keeps.flatten(1).sum(1) <= eps]
            moved = L0.project(z, x, eps)
            assert L0.inside(moved, x, eps).all()
            assert float((moved - z).square().sum()) == pytest.approx(float((allowed - z).square().flatten(1).sum(1).min()))


def test_a_pixel_counts_once_in_l0_with_all_its_channels():
    x = torch.full((1, 3, 2, 2), 0.5)
    moved = x.clone()
    moved[0, :, 0, 1] = 1
    moved[0, 2, 1, 0] = 0.4
    assert L0.distance(moved, x) == 2 and L0.diameter(x) == 4
    assert (L0.project(moved, x, 1) != x).nonzero()[:, 1:].tolist() == [[0, 0, 1], [1, 0, 1], [2, 0, 1]]


def test_a_fraction_of_the_color_range_is_no_number_of_pixels():
    for eps in ("8/255", 0.5, 2.5):
        with pytest.raises(EscrimeError, match="is no number of pixels, which l0 counts; use a whole number such as 10"):
            PGD(eps, norm="l0")
    assert PGD("10", norm="l0").eps == 10


@pytest.mark.parametrize("eps", [1e-6, 0.3, 3.7, 40.0])
def test_l1_is_kept_to_the_last_bit_for_thousands_of_images(eps):
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(2000, 3, 4, 4, generator=draw) ** 4
    moved = L1.project(images + torch.randn(images.shape, generator=draw), images, eps)
    assert L1.inside(moved, images, eps).all()
    reach = L1.distance((images + torch.randn(images.shape, generator=draw)).clamp(0, 1), images)
    assert (L1.distance(moved, images)[reach > 2 * eps] > 0.9999 * eps - 1e-6).all()


@pytest.mark.parametrize("name", ["linf", "l1"])
def test_a_climb_is_the_best_of_a_linear_program(name):
    """The largest w·v in ball ∩ box, where a function is linear."""
    own, (x, z) = norm(name), clustered(8, 6)
    slope, eps = z - x, 0.3 if name == "linf" else 2.2
    moved = own.climb(x, slope, eps)
    assert (own.distance(moved, x) <= eps + 1e-5).all() and moved.min() >= 0 and moved.max() <= 1
    for w, image, found in zip(slope.flatten(1).double().numpy(), x.flatten(1).double().numpy(), moved.flatten(1), strict=True):
        ends = [(0, min(1 - a, eps)) for a in image] + [(0, min(a, eps)) for a in image]
        plane = {"A_ub": [[1] * 12], "b_ub": [eps]} if name == "l1" else {}
        best = linprog([*-w, *w], bounds=ends, **plane)
        assert float((found.double().numpy() - image) @ w) == pytest.approx(-best.fun, abs=1e-5)
    assert torch.equal(own.climb(x, -slope, -eps), moved), "down a slope is up its mirror image"


@pytest.mark.parametrize("name", ["linf", "l2", "l1", "l0"])
def test_reach_is_how_far_a_linear_function_has_to_be_followed_down(name):
    """In l1 and l0 exact in the box: the climb that far falls enough, one a little shorter does not. Elsewhere a lower bound
    that leaves out what is at the end of the box."""
    gen, norm = torch.Generator().manual_seed(0), NORMS[name]
    x, gradient = torch.rand(20, 3, 4, 4, generator=gen), torch.randn(20, 3, 4, 4, generator=gen)
    fall = 0.3 * gradient.abs().flatten(1).sum(1) * torch.rand(20, generator=gen)
    reach = norm.reach(x, gradient, fall)
    falls = lambda size: (gradient * (x - norm.climb(x, gradient, -size.float().reshape(-1, 1, 1, 1)))).flatten(1).sum(1)  # noqa: E731
    if norm.sparse:
        less = reach - 1 if norm.grain else reach * 0.99
        assert (falls(reach * (1 + 1e-5)) >= fall).all() and (falls(less) < fall).all()
    else:
        assert torch.allclose(reach, (fall / norm.dual(gradient)).double()), "nothing is at the end of the box"
        free = torch.rand(20, 3, 4, 4, generator=gen) < 0.5
        ended = (gradient < 0).float().where(~free, x)
        assert torch.allclose(norm.reach(ended, gradient, fall), (fall / norm.dual(gradient * free)).double())
    assert (norm.reach(x, gradient, torch.zeros(20)) == 0).all()


def test_a_climb_in_l0_takes_the_pixels_that_gain_most():
    x, slope = points()
    moved, best = L0.climb(x, slope, 3), (slope > 0).float()
    gains = (slope * (best - x)).sum(1).flatten(1)
    found = (slope * (moved - x)).sum(1).flatten(1)
    assert torch.allclose(found.sum(1), gains.topk(3, dim=1).values.sum(1)) and (L0.distance(moved, x) == 3).all()


@pytest.mark.parametrize(
    ("name", "eps", "said", "named"),
    [
        ("linf", 4 / 255, "ε = 4/255", "l_inf, ε = 4/255"),
        ("l2", 0.5, "ε = 0.5 in l2", "l2, ε = 0.5"),
        ("l0", 24, "ε = 24 pixels in l0", "l0, ε = 24 (pixels)"),
        ("patch", 5, "ε = 5 pixels of a patch's side", "patch, ε = 5 (5 × 5 pixels)"),
        ("spatial", 0.5, "ε = 0.5, turned by up to 15°, shifted and scaled by up to 5 %", "spatial, ε = 0.5 (±15°, ±5 %)"),
        ("corruption", 3, "corruption severity 3 of 5", "corruption, ε = 3 (severity)"),
    ],
)
def test_what_a_bare_epsilon_counts_is_said(name, eps, said, named):
    assert (norm(name).said(eps), norm(name).named(eps)) == (said, named)
