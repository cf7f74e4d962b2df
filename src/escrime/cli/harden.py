"""`escrime harden`: a model before and after adversarial fine-tuning."""

from pathlib import Path
from typing import Annotated

import typer

from ..budgets import epsilon
from ..terminal import json_text
from ..validation import check_time
from .app import app
from .completion import ATTACKS, OBJECTIVES, images
from .options import (
    Classes,
    Device,
    Goals,
    Json,
    Limit,
    Mean,
    Name,
    Seed,
    Sets,
    Size,
    Spec,
    Std,
    Trust,
    command,
    normalization,
    split,
)

HARDEN_EXAMPLES = """Examples:

  escrime harden --model mine.py:load --data ~/photos --eps 4/255

  escrime harden --model torchvision:resnet18 --data ~/photos --eps 4/255 --objective trades --epochs 10 --out runs/hard

  escrime harden --model mine.py:load --data ~/photos --eps 4/255 --limit 100 --budget 20min --json | jq .worth_it

The folder holds train/CLASS/* and val/CLASS/*, or CLASS/*, of which a fifth is kept to judge by. The weights lie in
weights.safetensors. Stop at any time; the same command continues it."""


@app.command(epilog=HARDEN_EXAMPLES)
def harden(
    model: Spec,
    data: Annotated[
        str, typer.Option(metavar="DIR", autocompletion=images, help="Training and test images, or a dataset's name.")
    ],
    eps: Annotated[str, typer.Option(metavar="EPS", help="The budget to train and to judge at, such as 4/255.")],
    objective: Annotated[
        str, typer.Option(metavar="NAME", autocompletion=OBJECTIVES, help="What to minimize: n-fgsm, pgd, trades, ...")
    ] = "n-fgsm",
    epochs: Annotated[int | None, typer.Option(metavar="N", help="Passes over the training images; default 5.")] = None,
    set_: Sets = None,
    goal: Goals = None,
    attack: Annotated[
        str, typer.Option(metavar="NAME,...", autocompletion=ATTACKS, help="To judge by; default: FGSM and AutoAttack.")
    ] = "",
    limit: Limit = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Train as many epochs as fit, at most 5; judge in half of it or less. Such as 20min.",
        ),
    ] = None,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    classes: Classes = None,
    name: Name = None,
    seed: Seed = 0,
    device: Device = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Default: runs/harden-MODEL.")] = None,
    json_: Json = False,
    trust: Trust = False,
) -> None:
    """Make a model more robust by adversarial fine-tuning, and show what that bought: before and after in one report."""
    from ..commands.evaluate.request import Request
    from ..commands.harden.harden import harden as harden_model
    from ..commands.harden.outcome import as_json, outcome, show
    from ..commands.shared.devices import own_device
    from ..commands.shared.settings import parse_settings
    from ..commands.shared.stdout import reserving_stdout
    from ..report.validity import read_verdicts

    rest = {"seed": seed, "trust": trust, "classes": classes, "name": name, **normalization(mean, std)}
    within = None if budget is None else check_time("--budget", budget)
    request = Request(model, data, (epsilon(eps),), attacks=split(attack), limit=limit, size=size, budget=within, **rest)
    aim = parse_settings(goal or [], {"name": objective, "eps": None if objective == "clean" else eps})
    chosen = parse_settings(set_ or [], {"epochs": epochs})
    with reserving_stdout(json_):
        here = own_device(device, "harden")
        run = harden_model(request, out, goal=aim, training=chosen, device=here, command=command(), quiet=json_)
        found = outcome(run)
        values = as_json(run, found)
        run.folder.write_json("answer.json", values)
    if json_:
        typer.echo(json_text(values))
        return
    for verdict in read_verdicts(run.folder.path):
        run.display.say(("" if verdict["believe"] else "NOT AS IT STANDS: ") + verdict["sentence"])
    show(run.display, found)
    run.display.say(f"Weights: {run.folder / 'weights.safetensors'}. Report: {run.folder / 'report.html'}")
