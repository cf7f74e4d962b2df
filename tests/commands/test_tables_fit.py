"""Tables on a terminal of any width: whole numbers, whole names, or sentences."""

import io

import pytest

from escrime import bars
from escrime.commands.evaluate.result import _table
from escrime.commands.shared.display import Display
from escrime.terminal import make_console


@pytest.mark.parametrize("count", [2, 4, 6, 9])
def test_no_number_and_no_name_is_cut(count):
    """Five severities of a corruption need more than 80 columns."""
    named = ("gaussian_noise", "AutoAttack", "worst case")
    rows = [
        {"attack": name, "eps": float(eps), "norm": "corruption", "n": 30, "accuracy": 0.133, "low": 0.05, "high": 0.30}
        for name in named
        for eps in range(count)
    ]
    for width in range(24, 140):
        out = io.StringIO()
        display = Display(make_console(file=out, width=width, force_terminal=True, color_system=None))
        display.say(_table(rows, "corruption", "% of 30 images right", False))
        text = out.getvalue()
        assert "…" not in text and text.count("[5–30]") == 3 * count and text.count("13.3%") == 3 * count, width
        assert max(map(len, text.splitlines())) <= width
        assert "gaussian_noise" in text and bars.WIDEST > width
