"""What several commands share: options, how they are read, and lines on the terminal."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..commands.shared.threats import Threat, read_threats
from ..errors import EscrimeError
from ..norms import DEFAULT, norm
from ..terminal import printable
from ..validation import channel_numbers, check_real, check_seed, check_whole
from . import completion

# Options that several commands share.
Seed = Annotated[int, typer.Option(help="Seed of everything random.", callback=check_seed)]
Device = Annotated[
    str | None, typer.Option(autocompletion=completion.DEVICES, help="cpu, cuda, cuda:1; default: a GPU if there is one.")
]
Photos = Annotated[
    str,
    typer.Option(
        "--data", metavar="DIR", autocompletion=completion.images, help="A folder of images, CLASS/*.jpg, or a dataset's name."
    ),
]
Limit = Annotated[int | None, typer.Option(metavar="N", help="Judge by that many images in all, as many of each class.")]
Size = Annotated[int | None, typer.Option(metavar="PX", help="Edge length of the images; default: the model's own.")]
Mean = Annotated[
    str | None, typer.Option(metavar="M[,M,M]", help="Normalize with this mean instead of the model's own, such as 0.5.")
]
Std = Annotated[str | None, typer.Option(metavar="S[,S,S]", help="Its standard deviation, such as 0.229,0.224,0.225.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")]
Anyway = Annotated[bool, typer.Option("--anyway", help="Go on although the model looks wrongly loaded or fed.")]
Strict = Annotated[bool, typer.Option(help="Exit with 3 if a validity check forbids to believe a number.")]
FailUnder = Annotated[float | None, typer.Option(metavar="X", help="Exit with 4 if robust accuracy is below X (0 to 1).")]
SkipUnreadable = Annotated[bool, typer.Option(help="Leave out, count and name unreadable images.")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any other training setting. Repeatable.")]
Goals = Annotated[
    list[str] | None, typer.Option("--goal", metavar="NAME=VALUE", help="Another setting of the objective. Repeatable.")
]
Spec = Annotated[
    str,
    typer.Option(
        metavar="SPEC",
        autocompletion=completion.model,
        help="torchvision:NAME, timm:NAME, hf:ORG/NAME, ARCH@FILE, FILE.py:FUNCTION, FILE.pt2 (with --trust), FILE.onnx.",
    ),
]
Classes = Annotated[
    str | None, typer.Option(metavar="FILE", help="The names of the model's classes: one a line, in order, or JSON.")
]
Name = Annotated[str | None, typer.Option(metavar="NAME", help="What to call the model; default: its own name.")]
Trust = Annotated[bool, typer.Option("--trust", help="Run the code that a .pt2 file may hold; you know its maker.")]


def split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def whole_numbers(option: str, text: str) -> tuple[int, ...]:
    """The whole numbers from 1 of an option, apart by commas."""
    try:
        found = tuple(int(word) for word in split(text))
    except ValueError:
        raise EscrimeError(f"{option} {text!r} is no list of whole numbers; write 2,4,8,16.") from None
    return tuple(check_whole(option, number) for number in found)


def epsilons(text: str, name: str = DEFAULT) -> tuple[float, ...]:
    """The ε of an option, apart by commas, in the norm of that name."""
    return tuple(norm(name).epsilon(word) for word in split(text))


def threats(text: str | None, eps: str, name: str) -> tuple[Threat, ...]:
    """Those of --threat, () without it; EscrimeError where --eps or --norm is given too."""
    if text is None:
        return ()
    if eps or name != DEFAULT:
        given = f"--eps {eps}" if eps else f"--norm {name}"
        raise EscrimeError(f"--threat {text!r} names norms with their ε, and {given} too; leave that out, or --threat.")
    return read_threats(text)


def normalization(mean: str | None, std: str | None) -> dict:
    """--mean and --std as Request and load_model take them."""
    return {"mean": channel_numbers("--mean", mean), "std": channel_numbers("--std", std)}


def believed(folder: Path) -> None:
    """Leave with exit code 3 and the sentences of the verdicts that may not be believed."""
    from ..report.validity import read_verdicts

    sentences = [verdict["sentence"] for verdict in read_verdicts(folder) if not verdict["believe"]]
    for sentence in sentences:
        say(f"not to be believed: {sentence}", err=True)
    if sentences:
        raise typer.Exit(3)


def check_gate(fail_under: float | None) -> None:
    """Raise EscrimeError for a --fail-under that is no share."""
    if fail_under is not None:
        check_real("--fail-under", fail_under, low=0, high=1, hint="such as 0.4")


def robust_enough(accuracy: float, fail_under: float) -> None:
    """Leave with exit code 4 where robust accuracy is below --fail-under."""
    if accuracy < fail_under:
        say(f"robust accuracy {accuracy:.1%} is below --fail-under {fail_under:g}", err=True)
        raise typer.Exit(4)


def say(text: str, err: bool = False) -> None:
    """One line on the terminal, whatever the names in it hold."""
    typer.echo(printable(text), err=err)


def command() -> str:
    """The command as it can be typed again."""
    return shlex.join(["escrime", *sys.argv[1:]])
