"""`escrime attack`: photos that fool a model."""

from pathlib import Path
from typing import Annotated

import typer

from ..budgets import epsilon
from ..terminal import json_line
from .app import app
from .completion import ATTACKS
from .options import Classes, Device, Json, Mean, Seed, Size, Spec, Std, Trust, normalization, say, split

ATTACK_EXAMPLES = """Examples:

  escrime attack cat.jpg --model torchvision:resnet50

  escrime attack ~/photos --model torchvision:mobilenet_v2 --target "golf ball" --eps 4/255 --out fooled

  escrime attack flower.jpg --model torchvision:googlenet --full-size

Without --eps it finds the fewest gray levels that work. Each photo gives a PNG that fools the model when read from disk, a
picture of both side by side, and a line of JSON in attacks.jsonl. A terminal shows a sentence in its place, a pipe gets the
JSON. Stop at any time; the same command continues it."""


@app.command(epilog=ATTACK_EXAMPLES)
def attack(
    photos: Annotated[list[str], typer.Argument(metavar="PHOTO...", help="Pictures, or folders of them.")],
    model: Spec,
    eps: Annotated[
        str | None, typer.Option(metavar="EPS", help="The budget, such as 4/255; default: the smallest that works.")
    ] = None,
    target: Annotated[str | None, typer.Option(metavar="NAME", help="The class to reach; default: any wrong one.")] = None,
    attack: Annotated[
        str, typer.Option(metavar="NAME,...", autocompletion=ATTACKS, help="To try one after another; default: PGD and APGD.")
    ] = "",
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    classes: Classes = None,
    seed: Seed = 0,
    device: Device = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the pictures go; default: adversarial, or one beside it for other settings."),
    ] = None,
    full_size: Annotated[
        bool, typer.Option("--full-size", help="Keep the photo's own size; the model still sees it resized.")
    ] = False,
    json_: Json = False,
    trust: Trust = False,
) -> None:
    """Fool a model with photos of yours: adversarial pictures that stay adversarial as files."""
    from dataclasses import asdict

    from ..commands.attack.photos import attack_photos
    from ..commands.attack.words import sentence, summary
    from ..commands.shared.devices import own_device
    from ..commands.shared.display import Display
    from ..commands.shared.stdout import reserving_stdout
    from ..terminal import make_console

    budget = None if eps is None else epsilon(eps)
    with reserving_stdout() as stdout:
        told = stdout.isatty() and not json_  # a person reads
        display = Display(make_console(file=stdout) if told else make_console(stderr=True, quiet=json_))
        done, folders = [], list[Path]()  # the one that is chosen, once it is
        try:
            with display.bar("Attack", None) as advance:
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
                    full_size=full_size,
                    progress=lambda done, total, note: advance(done=done, total=total, note=note),
                    say=display.say,
                    begun=folders.append,
                ):
                    done.append(result)
                    if told:
                        display.say(sentence(result))
                        if result.fooled:
                            display.say(f"  {result.adversarial}", whole=True)
                        continue
                    typer.echo(json_line(asdict(result)), file=stdout)
                    if not result.fooled:
                        say(sentence(result), err=True)
        except KeyboardInterrupt:
            lie = f"; what came of them lies in {folders[0]}" if done else ""
            display.say(f"{len(done)} photo{'s are' if len(done) != 1 else ' is'} done{lie}.")
            raise
        if told:
            display.say(summary(done, folders[0], full_size))
