"""The signature of catastrophic overfitting, for a training that watches itself and for an evaluation of its result.

Wong, Rice and Kolter (2020), Fast is better than free; Kim, Lee and Lee (2021), Understanding catastrophic overfitting.
"""

# One step leaves at least this share of the clean accuracy, and many steps take at least this much more; or a smaller share
# and a wider gap, since on images not trained on one step takes more (LeNet, FGSM mixed at ε = 0.3, 80 epochs: 98 % clean,
# 81 % FGSM, 0 % PGD on digits held back).
HOLDS = ((0.85, 0.3), (0.75, 0.5))


def resists_one_step_only(clean: float, one: float, many: float) -> bool:
    """Whether a network that keeps these accuracies, fractions in [0, 1], resists the single step only."""
    return any(one >= share * clean and one - many >= gap for share, gap in HOLDS)
