"""The laws every attack keeps: box and ball, never worse than the start, an honest count, no trace, NaN is no success."""

from copy import deepcopy
from dataclasses import dataclass, replace

import numpy
import pytest
import torch
from attack_cases import (
    ATTACKS,
    CORRUPTIONS,
    DGSM,
    FGSM,
    MADE_ELSEWHERE,
    UNIVERSAL,
    Counted,
    bound,
    core,
    plain,
    scaled,
    starts_at_random,
    succeeds,
)
from torch import nn

import escrime.attacks
from escrime import APGD, FMN, PGD, AutoAttack, DeepFool, EscrimeError, PredictionAveraging, RayS, Square, WorstCase, evaluate
from escrime.attacks import Patch
from escrime.attacks.core.iterative import IterativeAttack
from escrime.attacks.core.minimum_norm import MinimumNorm
from escrime.models.fast.twin import Twin
from escrime.norms import NORMS

EVERY = pytest.mark.parametrize("attack", ATTACKS, ids=repr)
MIXED = (0.0, 0.003, 0.01, 0.03, 0.05, 0.08, 0.1, 0.2, 0.3)  # one ε per image


@pytest.fixture
def labels():
    return torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2])


@pytest.fixture
def wrong(network):
    """40 images in eval mode, labels at random below 3: some wrong from the start, some at class 3."""
    network.eval()
    gen = torch.Generator().manual_seed(2)
    images, labels = torch.rand(40, 3, 5, 5, generator=gen), torch.randint(0, 3, (40,), generator=gen)
    network[8].bias.data += network(images).detach().mean(0).neg()
    return images, labels


def test_every_attack_has_a_row_for_each_of_its_norms():
    for name, attack in escrime.attacks.ATTACKS.items():
        rows = [row for row in [*ATTACKS, *CORRUPTIONS, *UNIVERSAL, *MADE_ELSEWHERE] if type(row) is attack]
        assert rows, f"{name} has no row in attack_cases.py"
        assert {row.norm for row in rows} == set(attack.norms), f"{name} has no row for each of {attack.norms}"


@EVERY
def test_box_and_ball_to_the_last_bit(attack, network, images, labels):
    assert NORMS[attack.norm].inside(attack(network, images, labels), images, bound(attack, images)).all()


@EVERY
def test_box_and_ball_in_a_sweep_and_per_image(attack, network, images, labels):
    sweep = [0.0, 1e-4, MIXED, torch.tensor(MIXED), "80/255"]
    if isinstance(attack, WorstCase):
        sweep = [0.0, [e / 2 for e in MIXED], MIXED, 0.3]  # it needs the same order for every image
    sweep = scaled(attack, sweep)
    for eps, outcome in zip(sweep, attack.sweep(network, images, labels, sweep), strict=True):
        assert NORMS[attack.norm].inside(outcome.adversarial, images, core(attack)._budget(eps)).all(), eps
    mixed = scaled(attack, MIXED)
    own = replace(core(attack), eps=mixed)
    own = WorstCase(own) if isinstance(attack, WorstCase) else own
    assert own.eps == mixed and NORMS[attack.norm].inside(own(network, images, labels), images, mixed).all()
    with pytest.raises(EscrimeError, match="9 values for 8 images"):
        own(network, images[:8], labels[:8])


@EVERY
def test_input_is_not_changed_and_an_attack_happens(attack, network, images, labels):
    before = images.clone()
    moved = attack(network, images, labels)
    assert torch.equal(images, before) and not torch.equal(moved, images)


@EVERY
def test_a_model_that_writes_into_its_input_spoils_nothing(attack, linear, images, labels):
    """Such as one that normalizes in place: the result is that of the same model written otherwise."""

    class InPlace(nn.Module):
        def forward(self, x):
            return linear(x.sub_(0.5))

    class Apart(nn.Module):
        def forward(self, x):
            return linear(x - 0.5)

    before = images.clone()
    moved = attack(InPlace(), images, labels)
    assert torch.equal(images, before) and torch.equal(moved, attack(Apart(), images, labels))


@EVERY
def test_never_worse_than_the_start(attack, network, wrong):
    """An image that the model gets wrong stays wrong, one at the target stays there. (FGSM, and DGSM without early stop,
    are defined by their last iterate.)"""
    images, labels = wrong
    before = succeeds(network, images, labels, attack)
    assert before.any() and not before.all(), "this test needs both kinds of image"
    if isinstance(core(attack), FGSM) or isinstance(attack, DGSM) and not attack.early_stop:
        return
    after = succeeds(network, attack(network, images, labels), labels, attack)
    assert after[before].all()


@EVERY
def test_success_is_what_the_original_says(attack, network, wrong):
    """A minimum-norm attack claims what it found within ε; a projection on the ball that happens to succeed it never saw."""
    images, labels = wrong
    sweep = scaled(attack, [0.01, 0.1, 0.4])
    for outcome in attack.sweep(network, images, labels, sweep):
        successes = succeeds(network, outcome.adversarial, labels, attack)
        if outcome.success is None:
            assert isinstance(attack, (FGSM, DGSM)) or not attack.early_stop
        elif isinstance(core(attack), MinimumNorm):
            assert successes[outcome.success].all()
        else:
            assert torch.equal(outcome.success, successes)


@EVERY
@pytest.mark.parametrize("as_module", [True, False])
def test_every_pass_is_counted_and_no_other(attack, network, images, labels, as_module):
    """Forwards and backwards of an Outcome are the rows that went through the model; also those that verify a success."""
    for sweep in scaled(attack, ([0.1], [0.02, 0.1, 0.3])):
        model = Counted(network.eval())
        outcomes = attack.sweep(model if as_module else plain(model), images[:5], labels[:5], sweep)
        assert float(sum(o.forwards.sum() for o in outcomes)) == pytest.approx(model.tally.forwards)
        assert float(sum(o.backwards.sum() for o in outcomes)) == pytest.approx(model.tally.backwards)


@pytest.mark.parametrize("attack", [a for a in ATTACKS if "restarts" in vars(a) and a.early_stop], ids=repr)
def test_restarts_touch_only_survivors(attack, network, wrong):
    images, labels = wrong
    eps = {"linf": 0.01, "l2": 0.1, "l1": 0.3, "l0": 1, "patch": 1}[attack.norm]
    attack = replace(attack, eps=eps, restarts=1)
    mask = torch.zeros(5, 5) if isinstance(attack, Patch) else torch.ones(5, 5)
    mask[0, 0] = 1  # a pixel of its choice fools this network always
    one, more = (a.sweep(network, images, labels, [eps], mask=mask)[0] for a in (attack, replace(attack, restarts=4)))
    fooled = one.success
    assert fooled.any() and not more.success.all(), "this test needs both kinds of image"
    assert torch.equal(more.forwards[fooled], one.forwards[fooled])
    assert torch.equal(more.adversarial[fooled], one.adversarial[fooled])
    assert (more.forwards[~more.success] > one.forwards[~more.success]).all()


@EVERY
def test_seed_matters_exactly_where_something_is_random(attack, network, images, labels):
    images, labels = images[:4], labels[:4]
    same = torch.equal(attack(network, images, labels, seed=0), attack(network, images, labels, seed=1))
    assert same != starts_at_random(attack)
    noisy = PredictionAveraging(network, 0.3, samples=2)
    assert not torch.equal(attack(noisy, images, labels, seed=0), attack(noisy, images, labels, seed=1))


@EVERY
def test_no_trace(attack, network, images, labels):
    hooked = []
    network[0].register_forward_hook(lambda *_: hooked.append(1))
    modes = [m.training for m in network.modules()]
    wanted = [p.requires_grad for p in network.parameters()]
    state = {k: v.clone() for k, v in network.state_dict().items()}
    network[8].weight.grad = torch.ones_like(network[8].weight)
    hooks = len(network[0]._forward_hooks)
    random = torch.random.get_rng_state()
    attack(network, images, labels)
    assert [m.training for m in network.modules()] == modes
    assert [p.requires_grad for p in network.parameters()] == wanted
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
    assert torch.equal(network[8].weight.grad, torch.ones_like(network[8].weight))
    assert all(p.grad is None for p in network.parameters() if p is not network[8].weight)
    assert len(network[0]._forward_hooks) == hooks and hooked
    assert torch.equal(random, torch.random.get_rng_state())


@EVERY
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_works_without_gradients_enabled(attack, mode, network, images, labels):
    with mode():
        moved = attack(network, images, labels)
        given = images.clone(), labels.clone()
    assert not moved.requires_grad and torch.equal(moved, attack(network, images, labels))
    assert torch.equal(moved, attack(network, *given)), "images and labels that were made there are like any others"


@EVERY
def test_an_autocast_of_the_callers_changes_nothing(attack, network, images, labels):
    """Its 8 bits would depend on the batch, and successes would be those of no model that anyone judges."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        moved = attack(network, images, labels)
    assert torch.equal(moved, attack(network, images, labels))


@EVERY
def test_a_sweep_of_nothing_and_budgets_of_numpy(attack, network, images, labels):
    assert attack.sweep(network, images, labels, []) == []
    mixed = scaled(attack, MIXED)
    given, listed = (attack.sweep(network, images, labels, [each])[0].adversarial for each in (numpy.array(mixed), mixed))
    assert torch.equal(given, listed)


@dataclass(frozen=True)
class Own(IterativeAttack):
    """An attack of a user's, with the settings that one needs."""

    eps: float
    steps: int = 5

    def start(self, rows, keys):
        return {"x": rows.images}

    def objective(self, logits, labels, aims):
        return logits.gather(1, labels[:, None]).squeeze(1)

    def step(self, state, output, rows):
        state["x"] = rows.project(state["x"] - 0.3 * rows.eps.float().view(-1, 1, 1, 1) * output.gradient.sign())


@dataclass(frozen=True)
class Noisy(Own):
    eot: int = 1


def test_an_attack_of_a_users_in_the_worst_case_and_against_noise(network, images, labels):
    first, last = WorstCase(Own(0.1)).sweep(network, images, labels, [0.02, 0.3])
    assert (last.success >= first.success).all() and NORMS["linf"].inside(last.adversarial, images, 0.3).all()
    averaged = PredictionAveraging(network, 0.1, 2)
    found = evaluate(averaged, (images, labels), Noisy(0.1), checks=False, eot=3).records
    assert found.query("threat == 'adaptive'")["backwards"].eq(5 * 3 * 2).all()
    with pytest.raises(EscrimeError, match="Own has no setting eot, .* add the field `eot: int = 1`"):
        evaluate(averaged, (images, labels), Own(0.1), checks=False, eot=3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PGD(0.1, steps=2.5), "steps = 2.5 is not a whole number"),
        (lambda: PGD(0.1, steps="10"), "steps = '10' is not a whole number"),
        (lambda: PGD(0.1, restarts=True), "restarts = True is not a whole number"),
        (lambda: FGSM(0.1, target=1.7), "target = 1.7 is not a whole number"),
        (lambda: FGSM(0.1, eot=2.0), "eot = 2.0 is not a whole number"),
        (lambda: PGD(0.1, momentum="1"), "momentum = '1' is not a finite number"),
        (lambda: DGSM(0.1, target=1, step_size=float("inf")), "step_size = inf is not a finite number"),
        (
            lambda: DGSM(0.1, target=1, step_size="0/255"),
            "step_size = 0.0 is not a number above 0; .* leave it out for 2.5·ε/steps",
        ),
        (lambda: APGD(0.1, targets_tried=None), "targets_tried = None is not a whole number"),
        (lambda: PGD(0.1, early_stop="no"), "early_stop = 'no' is no switch; give true or false"),
        (lambda: PGD(0.1, random_start="no"), "random_start = 'no' is no switch"),
        (lambda: DeepFool(early_stop="no"), "early_stop = 'no' is no switch"),
        (lambda: RayS(stop_within=0), "stop_within = 0 is no switch"),
        (lambda: FMN(step_size="a"), "step_size = 'a' is not a finite number; give one, such as 2.0"),
        (lambda: FMN(give_up="soon"), "give_up = 'soon' is not a finite number; give one, or leave it out"),
        (lambda: Square(0.1, loss=None), "loss = None is not text"),
    ],
)
def test_settings_that_mean_nothing_are_named(make, message):
    with pytest.raises(EscrimeError, match=message):
        make()


def test_settings_of_a_users_attack_may_be_called_as_ours_are(network, images, labels):
    @dataclass(frozen=True)
    class Theirs(Own):
        tolerance: float | None = None
        candidates: tuple = ("a", "b")

    assert NORMS["linf"].inside(Theirs(0.1)(network, images, labels), images, 0.1).all()


def test_settings_of_any_attack_are_held_to_their_types():
    """Whatever they are called: nobody but the attack's own file knows them."""

    @dataclass(frozen=True)
    class Theirs(Own):
        iterations: int = 3
        hot: bool = False
        shrink: float | None = None
        sides: tuple[int, ...] = (1, 2)
        sloppy: int = None  # type: ignore[assignment]

    assert Theirs(0.1) == Theirs(0.1, sides=[1, 2], sloppy=None) and Theirs(0.1, shrink=1).shrink == 1
    assert repr(Theirs(0.1, iterations=numpy.int64(5))) == repr(Theirs(0.1, iterations=5))
    for wrong, said in (
        ({"iterations": 2.5}, "iterations = 2.5 is not a whole number; give one, such as 3"),
        ({"iterations": True}, "iterations = True is not a whole number"),
        ({"hot": "no"}, "hot = 'no' is no switch"),
        ({"shrink": "a"}, "shrink = 'a' is not a finite number; give one, or leave it out"),
        ({"sides": (1, "b")}, "sides = 'b' is not a whole number"),
        ({"sides": 3}, "sides = 3 is not a tuple"),
        ({"sloppy": 1.5}, "sloppy = 1.5 is not a whole number"),
    ):
        with pytest.raises(EscrimeError, match=said):
            Theirs(0.1, **wrong)


def test_settings_as_numpy_counts_and_fractions_have_them():
    assert DGSM("8/255", target=numpy.int64(1), step_size="1/255") == DGSM(8 / 255, target=1, step_size=1 / 255)


def test_classes_that_are_tried_and_classes_that_are_asked_for_exclude_each_other(network, images, labels):
    with pytest.raises(EscrimeError, match="targets_tried = 3 tries classes of its own"):
        APGD(0.1, steps=3, loss="dlr", targets_tried=3)(network, images, labels, targets=(labels + 1) % 3)


class Adjacent(nn.Module):
    """It has buffers that cannot be compared, and one that is made by the first pass, as it remembers."""

    def __init__(self, network):
        super().__init__()
        self.network, self.ready = network, False
        self.register_buffer("sparse", torch.eye(3).to_sparse())
        self.register_buffer("cache", None)

    def forward(self, x):
        if not self.ready:
            self.cache, self.ready = torch.ones(3, 1, 1), True
        return self.network(x * self.cache)


def test_other_buffers_are_left_alone(network, images, labels):
    model = Adjacent(network)
    for _ in range(2):
        evaluate(model, (images, labels), PGD(0.1, steps=2), checks=False)
    assert model.ready and model(images).shape[0] == len(images)


class Counting(nn.Module):
    """It counts its passes in a buffer, and its BatchNorm adapts to what it is given, also in evaluation mode."""

    def __init__(self, network):
        super().__init__()
        self.network, self.norm = network, nn.BatchNorm2d(3)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x):
        self.passes = self.passes + len(x)  # another tensor in the place of the buffer
        self.norm.train()
        return self.network(self.norm(x))


@pytest.mark.parametrize("attack", [FGSM(0.1), PGD(0.1, steps=2), APGD(0.1, steps=3)], ids=repr)
def test_buffers_are_put_back(attack, network, images, labels):
    model = Counting(network)
    before = deepcopy(model.state_dict())
    attack(model, images, labels)
    evaluate(model, (images, labels), attack, checks=False)
    assert {name: value.tolist() for name, value in model.state_dict().items()} == {
        name: value.tolist() for name, value in before.items()
    }


@EVERY
def test_a_default_type_of_the_users_changes_nothing(attack, network, images, labels):
    moved = attack(network, images, labels)
    torch.set_default_dtype(torch.float64)
    try:
        again = attack(network, images, labels)
    finally:
        torch.set_default_dtype(torch.float32)
    assert again.dtype == torch.float32 and NORMS[attack.norm].inside(again, images, bound(attack, images)).all()
    assert torch.allclose(again, moved, atol=1e-5) or not isinstance(attack, FGSM)


def test_auto_attack_tells_of_the_images_that_it_gives(wrong, network):
    images, labels = wrong
    targets = (labels + 1) % 3
    for aims in (None, targets):
        (outcome,) = AutoAttack(0.05, steps=10, queries=50).sweep(network, images, labels, [0.05], targets=aims)
        with torch.no_grad():
            predicted = network(outcome.adversarial).argmax(1)
        assert torch.equal(outcome.success, predicted != labels if aims is None else predicted == targets)


def test_a_network_that_squeezes_its_answer_is_refused_by_name(network, images, labels):
    class Squeezed(nn.Module):
        def forward(self, x):
            return network(x).squeeze()

    with pytest.raises(EscrimeError, match="the model returned .* for 1 images; a classifier returns logits"):
        DeepFool()(Squeezed(), images[:1], labels[:1])
    # An evaluation gives it the company it needs.
    assert len(evaluate(Squeezed(), (images[:1], labels[:1]), FGSM(0.05), checks=False).records) == 1


def test_a_seed_is_a_whole_number(network, images, labels):
    with pytest.raises(EscrimeError, match="seed = 'a' is not a whole number"):
        FGSM(0.1)(network, images, labels, seed="a")


@EVERY
def test_a_model_made_under_inference_mode_is_refused_by_name(attack, linear, images, labels):
    with torch.inference_mode():
        made, twin = deepcopy(linear), Twin(linear)
    for model in (made, twin):
        with pytest.raises(EscrimeError, match="the model's .*weight was made under torch.inference_mode"):
            attack(model, images, labels)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_logits_of_any_float_type_will_do(attack, dtype, linear, images, labels):
    class Cast(nn.Module):
        def forward(self, x):
            return linear(x).to(dtype)

    assert NORMS[attack.norm].inside(attack(Cast(), images, labels), images, bound(attack, images)).all()


@EVERY
def test_an_image_without_a_finite_gradient_stays_and_the_others_move(attack, linear, images, labels):
    """Such as a black one whose contrast is divided by its standard deviation: its logits are fine, their gradient is NaN."""

    class Broken(nn.Module):
        def forward(self, x):
            logits = linear(x).clone()
            rows = torch.cdist(x.flatten(1), images.flatten(1)).argmin(1) == 3
            logits[rows] += (0 * x[rows].flatten(1).sum(1, keepdim=True)).sqrt()
            return logits

    moved = attack(Broken(), images, labels)
    assert NORMS[attack.norm].inside(moved, images, bound(attack, images)).all() and not torch.equal(moved, images)
    if isinstance(attack, FGSM):
        assert torch.equal(moved[3], images[3])


@EVERY
def test_against_noise_no_job_leaves_at_a_lucky_draw(attack):
    """One lucky draw is not a success, whatever an attack calls its way to stop at one."""
    prepared = attack.against_noise(3)
    assert prepared.eot >= 3
    confirmed = ("early_stop", "give_up") if prepared.confirms else ()  # by many fresh draws
    assert not any(getattr(prepared, name, False) for name in ("early_stop", "stop_within", "give_up") if name not in confirmed)


@EVERY
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_reported_by_image_not_counted(attack, linear, images, labels, value):
    class Broken(nn.Module):
        def forward(self, x):
            nearest = torch.cdist(x.flatten(1), images.flatten(1)).argmin(1)
            return torch.where((nearest == 3)[:, None], value, 1.0) * linear(x)

    with pytest.raises(EscrimeError, match="'d'"):
        attack(Broken(), images, labels, ids=list("abcdefghi"))


@EVERY
def test_wrong_shapes_are_refused(attack, network, images, labels):
    with pytest.raises(EscrimeError, match="logits"):
        attack(nn.Flatten(0), images, labels)
    with pytest.raises(EscrimeError, match="one id per image"):
        attack(network, images, labels, ids=[1])
    with pytest.raises(EscrimeError, match="one class index per image"):
        attack(network, images, labels[:-1])
    with pytest.raises(EscrimeError, match="class 7, but the model has 4"):
        attack(network, images, torch.full((9,), 7))


@EVERY
def test_the_state_is_restored_after_an_error(attack, network, images, labels):
    network[4].weight.data.fill_(float("nan"))
    modes = [m.training for m in network.modules()]
    wanted = [p.requires_grad for p in network.parameters()]
    random = torch.random.get_rng_state()
    with pytest.raises(EscrimeError):
        attack(network, images, labels)
    assert [m.training for m in network.modules()] == modes
    assert [p.requires_grad for p in network.parameters()] == wanted
    assert torch.equal(random, torch.random.get_rng_state())


@EVERY
def test_no_images_is_no_work(attack, network, images, labels):
    assert attack(network, images[:0], labels[:0]).shape == (0, 3, 5, 5)


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (2, 3, 9, 9)])
def test_images_that_the_model_was_not_made_for_are_named(shape):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.Flatten(), torch.nn.Linear(72, 2))
    said = f"raised on images of {' × '.join(map(str, shape[1:]))} as they are.*give images of the channels and the size"
    with pytest.raises(EscrimeError, match=said):
        FGSM(0.1)(network, torch.rand(shape), torch.zeros(2, dtype=torch.long))


def test_to_name_them_leaves_no_trace():
    """Asked about the images as they are, a model in training mode learns nothing of them either."""
    norm = torch.nn.BatchNorm2d(3)
    network = torch.nn.Sequential(norm, torch.nn.Flatten(), torch.nn.Linear(5, 2)).train()
    with pytest.raises(EscrimeError, match="as they are, without any attack"):
        FGSM(0.1)(network, torch.rand(2, 3, 4, 4), torch.zeros(2, dtype=torch.long))
    assert network.training and norm.training and not norm.running_mean.any() and norm.num_batches_tracked == 0


def test_an_error_under_attack_alone_is_the_model_s_own():
    class Shy(torch.nn.Module):
        def forward(self, x):
            if x.requires_grad:
                raise ArithmeticError("not so close")
            return x.flatten(1)[:, :2]

    with pytest.raises(ArithmeticError, match="not so close"):
        PGD(0.1, steps=2)(Shy(), torch.rand(2, 3, 4, 4), torch.zeros(2, dtype=torch.long))
