"""`escrime list`: what there is."""

from typing import Annotated

import typer

from ..terminal import json_text
from .app import app


@app.command("list")
def list_(
    json_: Annotated[bool, typer.Option("--json", help="Print it as JSON, with all that is known of each.")] = False,
) -> None:
    """Print what there is: experiments, datasets, architectures, attacks, defenses, training objectives.

    Behind an attack: its norms, what the model must give away, and what it looks for.

    Examples:  escrime list;  escrime list --json | jq .attacks
    """
    from ..commands.catalog import as_lines, catalog

    found = catalog()
    typer.echo(json_text(found) if json_ else "\n".join(as_lines(found)))
