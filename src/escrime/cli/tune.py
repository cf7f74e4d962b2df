"""`escrime tune`: prediction averaging for a model."""

from pathlib import Path
from typing import Annotated

import typer

from ..budgets import epsilon
from ..terminal import json_text
from .app import app
from .completion import AGAINST
from .options import (
    Anyway,
    Classes,
    Device,
    Json,
    Limit,
    Mean,
    Name,
    Photos,
    Seed,
    Size,
    SkipUnreadable,
    Spec,
    Std,
    Trust,
    command,
    normalization,
    split,
    whole_numbers,
)

TUNE_EXAMPLES = """Examples:

  escrime tune --model lenet@weights.safetensors --data digits --eps 0.1

  escrime tune --model torchvision:resnet18 --data ~/photos --eps 4/255 --eps-max 2/255,8/255,16/255 --samples 4,16 --limit 400

  escrime tune --model mine.py:load --data ~/photos --eps 8/255 --json | jq .verdict

Half of the images choose, the other half validates what was chosen. Stop at any time; the same command continues it."""


@app.command(epilog=TUNE_EXAMPLES)
def tune(
    model: Spec,
    data: Photos,
    eps: Annotated[str, typer.Option(metavar="EPS", help="The attacker's budget, such as 8/255.")],
    eps_max: Annotated[str, typer.Option(metavar="EPS,...", help="Radii of the noise to try.")] = "0.01,0.03,0.1,0.3",
    samples: Annotated[str, typer.Option(metavar="N,...", help="Numbers of copies to try.")] = "2,4,8,16",
    against: Annotated[
        str,
        typer.Option(
            autocompletion=AGAINST, help="The attacker who counts: adaptive (knows the defense) or transfer (ignores it)."
        ),
    ] = "adaptive",
    limit: Limit = None,
    steps: Annotated[int, typer.Option(metavar="N", help="Steps of PGD.")] = 20,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    classes: Classes = None,
    name: Name = None,
    seed: Seed = 0,
    device: Device = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Default: runs/tune-MODEL.")] = None,
    json_: Json = False,
    skip_unreadable: SkipUnreadable = False,
    anyway: Anyway = False,
    trust: Trust = False,
) -> None:
    """Choose ε_max and N of prediction averaging (PPA) by clean and attacked accuracy, and validate the choice."""
    from ..commands.evaluate.request import Request
    from ..commands.shared.devices import own_device
    from ..commands.shared.display import Display
    from ..commands.shared.stdout import reserving_stdout
    from ..commands.tune.result import show
    from ..commands.tune.tune import tune_model
    from ..evaluation.shared_copies import Grid

    grid = Grid(eps, split(eps_max), whole_numbers("--samples", samples), against, steps)
    rest = {"seed": seed, "anyway": anyway, "skip_unreadable": skip_unreadable, "trust": trust, **normalization(mean, std)}
    rest |= {"classes": classes, "name": name}
    request = Request(model, data, (epsilon(eps),), limit=limit, size=size, **rest)
    with reserving_stdout(json_):
        folder, result = tune_model(request, grid, out, device=own_device(device, "tune"), command=command(), quiet=json_)
    if json_:
        typer.echo(json_text(result))
    else:
        show(Display(), folder, result)
