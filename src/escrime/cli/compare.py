"""`escrime compare`: two runs."""

import math
from pathlib import Path
from typing import Annotated

import typer

from ..budgets import epsilon
from ..terminal import json_text
from .app import app
from .options import Json, split

COMPARE_EXAMPLES = """Examples:

  escrime compare runs/before runs/after

  escrime compare runs/digits runs/digits --models lenet,wide_resnet_small --attack FGSM --eps 0.1

  escrime compare runs/before runs/after --json | jq .sentence

Fewer rows are a sharper test: p is corrected for their number, so ask for the attacks and ε that matter."""


@app.command(epilog=COMPARE_EXAMPLES)
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, such as runs/digits.")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="Another one, or the same with --models A,B.")],
    models: Annotated[
        str, typer.Option("--models", "--model", metavar="A[,B]", help="The first run's model and the second's.")
    ] = "",
    attack: Annotated[str, typer.Option(metavar="NAME,...", help="Only these; 'worst case' is over all attacks.")] = "",
    eps: Annotated[str, typer.Option(metavar="EPS,...", help="Only these, such as 4/255.")] = "",
    json_: Json = False,
) -> None:
    """Two models or two versions side by side, image by image: is the second really better?"""
    from ..report.side_by_side import as_json, compare_runs
    from ..report.side_by_side_table import show

    budgets: tuple[float, ...] = ()
    if eps:
        budgets = tuple(epsilon(word, math.inf) for word in split(eps))
    found = compare_runs(first, second, split(models), attacks=split(attack), epsilons=budgets)
    if json_:
        typer.echo(json_text(as_json(found)))
    else:
        show(found)
