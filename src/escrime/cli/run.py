"""`escrime run`: an experiment, in full."""

from pathlib import Path
from typing import Annotated

import typer

from .app import app
from .completion import EXPERIMENTS
from .options import Device, SkipUnreadable, Strict, believed, command

RUN_EXAMPLES = """Examples:

  escrime run digits

  escrime run imagenette --data ~/imagenette2 --limit 50

  escrime run imagenette --models mobilenet_v2 --weights mobilenet.safetensors --size 128

  escrime run mine.toml --out runs/mine --seed 1

The folder of a run is runs/NAME. Stop a run at any time; the same command continues it."""


@app.command(epilog=RUN_EXAMPLES)
def run(
    experiment: Annotated[
        str,
        typer.Argument(autocompletion=EXPERIMENTS, help="A shipped experiment (see `escrime list`) or a .toml file of yours."),
    ],
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Read the images from this folder; download nothing.")
    ] = None,
    models: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only these models, or other architectures by name.")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="[MODEL=]FILE", help="Pre-trained weights: a file, a URL, 'torchvision' or 'none'. Repeatable."),
    ] = None,
    size: Annotated[int | None, typer.Option(metavar="PX", help="Edge length of the images.")] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", help="Test images, stratified (the paper used 50).")] = None,
    epochs: Annotated[int | None, typer.Option(metavar="N", help="Epochs of training.")] = None,
    adversarial_epochs: Annotated[int | None, typer.Option(metavar="N", help="Epochs of adversarial training.")] = None,
    device: Device = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The run folder; default runs/NAME.")] = None,
    skip_unreadable: SkipUnreadable = False,
    strict: Strict = False,
) -> None:
    """Run an experiment: train, attack, defend, harden, attack again, and draw the report.

    Running again continues: nothing that is finished is computed twice.
    """
    from ..commands.run import run_experiment

    changes = {
        "data": data,
        "models": models,
        "weights": weights,
        "size": size,
        "limit": limit,
        "epochs": epochs,
        "adversarial_epochs": adversarial_epochs,
        "seed": seed,
        "skip_unreadable": skip_unreadable or None,
    }
    folder = run_experiment(experiment, changes, device=device, out=out, command=command())
    if strict:
        believed(folder)
