"""`escrime attack`: photos that fool a model."""

from pathlib import Path
from typing import Annotated

import typer

from ..budgets import epsilon
from ..terminal import json_line
from .app import app
from .options import Classes, Device, Mean, Seed, Size, Spec, Std, Trust, normalization, say, split

ATTACK_EXAMPLES = """Examples:

  escrime attack cat.jpg --model torchvision:resnet50

  escrime attack ~/photos --model torchvision:mobilenet_v2 --target "golf ball" --eps 4/255 --out fooled

Without --eps it finds the fewest gray levels that work. Each photo gives a PNG that fools the model when read from disk, a
picture of both side by side, and a line of JSON, which is printed too."""


@app.command(epilog=ATTACK_EXAMPLES)
def attack(
    photos: Annotated[list[str], typer.Argument(metavar="PHOTO...", help="Pictures, or folders of them.")],
    model: Spec,
    eps: Annotated[
        str | None, typer.Option(metavar="EPS", help="The budget, such as 4/255; default: the smallest that works.")
    ] = None,
    target: Annotated[str | None, typer.Option(metavar="NAME", help="The class to reach; default: any wrong one.")] = None,
    attack: Annotated[str, typer.Option(metavar="NAME,...", help="To try one after another; default: PGD and APGD.")] = "",
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    classes: Classes = None,
    seed: Seed = 0,
    device: Device = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the pictures go.")] = Path("adversarial"),
    trust: Trust = False,
) -> None:
    """Fool a model with photos of yours: adversarial pictures that stay adversarial as files."""
    from dataclasses import asdict

    from ..commands.attack.photos import attack_photos
    from ..commands.shared.devices import own_device
    from ..commands.shared.stdout import reserving_stdout

    budget = None if eps is None else epsilon(eps)
    with reserving_stdout() as stdout:
        for result in attack_photos(
            photos,
            model,
            out,
            eps=budget,
            target=target,
            size=size,
            seed=seed,
            device=own_device(device, "attack"),
            **normalization(mean, std),
            trust=trust,
            classes=classes,
            attacks=split(attack),
        ):
            typer.echo(json_line(asdict(result)), file=stdout)
            if not result.fooled:
                reason = "it is the target already" if result.target == result.before else "no change within ε works"
                say(f"{result.photo}: still {result.after}; {reason}.", err=True)
