"""`escrime classes`: the classes of a dataset."""

from typing import Annotated

import typer

from .app import app
from .options import say


@app.command()
def classes(data: Annotated[str, typer.Argument(metavar="NAME", help="The dataset (see `escrime list`).")]) -> None:
    """Say which classes a dataset has, one per line."""
    from ..data import load

    for name in load(data).test.classes:
        say(name)
