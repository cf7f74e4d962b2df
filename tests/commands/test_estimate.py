"""How long a run will take: each training timed on a few images, with its own objective and settings."""

import torch

from escrime.commands.run import estimate
from escrime.commands.run.context import ExperimentRun
from escrime.commands.run.files import read_experiment
from escrime.commands.run.schema import check_experiment
from escrime.commands.shared.display import Display
from escrime.commands.shared.folder import RunFolder
from escrime.distributed import Processes
from escrime.models import build, save_weights


def test_trainings_that_are_open_are_timed_with_their_settings(tiny, tmp_path, monkeypatch):
    asked = []

    def seconds(model, data, goal, settings, *, device, about):
        asked.append((goal.name, settings.epochs))
        return 0.002 if goal.name == "clean" else 0.005

    monkeypatch.setattr(estimate, "seconds_per_image", seconds)
    here = torch.device("cpu")
    experiment = check_experiment(read_experiment(str(tiny))[1], str(tiny))
    folder = RunFolder(tmp_path / "run")
    run = ExperimentRun("tiny", experiment, folder, Display(quiet=True), here, Processes(here))
    found = {stage.stage: stage.seconds for stage in estimate.estimate(run)}
    assert asked == [("clean", 3), ("fgsm-mixed", 2)]
    assert found["Train lenet: 3 epochs"] == 3 * 1437 * 0.002
    assert found["Harden lenet (fgsm-mixed): 2 epochs"] == 2 * 1437 * 0.005
    assert all(value > 0 for value in found.values()) and any(name.startswith("Attack") for name in found)
    run.checkpoint("lenet").parent.mkdir(parents=True)
    save_weights(build("lenet", 10), run.checkpoint("lenet"))
    assert not any(stage.stage.startswith("Train") for stage in estimate.estimate(run)), "what is done takes no time"
