"""escrime: how easily an image classifier can be fooled, what hardening it buys, and whether that can be believed."""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

# What is public. Names are imported on first use, so that `escrime --help` does not wait for torch: see discovery.late_names.
if TYPE_CHECKING:
    from .attacks import Attack as Attack
    from .attacks.core.found import *  # noqa: F403 (every attack: one that is added is public at once)
    from .defenses import MajorityVote as MajorityVote
    from .defenses import PredictionAveraging as PredictionAveraging
    from .errors import EscrimeError as EscrimeError
    from .evaluation.certificate import Certificate as Certificate
    from .evaluation.certificate import certify as certify
    from .evaluation.effort import Effort as Effort
    from .evaluation.evaluation import Evaluation as Evaluation
    from .evaluation.evaluation import evaluate as evaluate
    from .evaluation.tuning import Tuning as Tuning
    from .evaluation.tuning import tune as tune
    from .models import Normalized as Normalized
    from .models import build as build
    from .models import load_model as load_model
    from .training import fit as fit
else:
    from .discovery import late_names, on_first_use

    def __getattr__(name):
        if name == "__all__":
            return [*late_names(__name__), *_attacks(), "__version__"]
        # An attack's name is no module's, which torch must not wait for.
        if name[:1].isupper() and name not in late_names(__name__) and name in (attacks := _attacks()):
            return attacks[name]
        return on_first_use(__name__, name)

    def _attacks():
        from .attacks import ATTACKS

        return ATTACKS

    def __dir__():
        return sorted({*globals(), *late_names(__name__), *_attacks()})
