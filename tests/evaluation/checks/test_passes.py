"""What the checks cost, in network passes, and that they spend more where something is hidden."""

from torch import nn

from escrime import PGD, Effort, PredictionAveraging, evaluate
from escrime.evaluation.profile import ProbeBudget, profile


class Counted(nn.Module):
    """`network`, behind `change`; its passes are counted, those of copies too."""

    def __init__(self, network, change=lambda x: x):
        super().__init__()
        self.network, self.change, self.rows = network, change, [0]

    def __deepcopy__(self, memo):
        return self

    def forward(self, x):
        self.rows[0] += len(x)
        return self.network(self.change(x))


def passes(model, data, effort):
    evaluate(model, data, PGD(0.004, steps=5), checks=effort)
    return model.rows[0] / len(data[0])


def test_the_first_look_costs_at_most_fifty_two_passes_per_image(linear, data):
    model = Counted(linear)
    profile(model, data[0][:64], data[1][:64], ProbeBudget(0.03), 0)
    assert model.rows[0] / 64 < 52


def test_where_gradients_are_true_no_thousand_points_and_queries_are_asked(linear, data):
    """The images stand, so that a search which ignores the gradient would spend all it has on each."""
    few, effort = (data[0][:10], data[1][:10]), Effort(images=10, steps=10, queries=1000, draws=1000, doublings=0)
    plain = passes(Counted(linear), few, effort)
    hidden = passes(Counted(linear, lambda x: (x * 255).round() / 255), few, effort)
    assert plain < 1000 and hidden > 1500


def test_a_randomized_model_that_has_fallen_costs_little_more(linear, data):
    """The doubling of steps and draws is not spent on what fresh draws have settled."""
    few, effort = (data[0][:8], data[1][:8]), Effort(images=8, steps=40, queries=50, draws=50, eot=8, doublings=1)
    spent = {}
    for eps in (0.004, 0.3):
        inner = Counted(linear)
        evaluate(PredictionAveraging(inner, eps_max=0.01, samples=2), few, PGD(eps, steps=20), checks=effort)
        spent[eps] = inner.rows[0]
    assert spent[0.3] < 0.6 * spent[0.004]
