"""`escrime evaluate`: how robust a model is."""

from pathlib import Path
from typing import Annotated

import typer

from ..access import ACCESS
from ..commands.shared.threats import usual_in_words
from ..norms import DEFAULT, NORMS
from ..terminal import json_text
from ..validation import check_time
from .app import app
from .completion import ACCESS_NAMES, ATTACKS, NORM_NAMES, THREATS
from .completion import model as model_spec
from .options import (
    Anyway,
    Classes,
    Device,
    FailUnder,
    Json,
    Limit,
    MaskFile,
    Mean,
    Name,
    Photos,
    Seed,
    Size,
    SkipUnreadable,
    Spec,
    Std,
    Strict,
    Trust,
    believed,
    check_gate,
    command,
    epsilons,
    normalization,
    robust_enough,
    split,
    threats,
)

EVALUATE_EXAMPLES = """Examples:

  escrime evaluate --model torchvision:resnet50 --data ~/photos --eps 4/255

  escrime evaluate --model resnet18@weights.pth --data ~/photos --eps 2/255,4/255,8/255 --limit 200 --budget 10min

  escrime evaluate --model mine.py:load --data ~/photos --eps 4/255 --json --fail-under 0.4 --strict

  escrime evaluate --model mine.py:load --data ~/photos --threat all --limit 100

  escrime evaluate --model mine.onnx --data ~/photos --eps 4/255 --surrogate torchvision:resnet50,timm:efficientnet_b0

  escrime evaluate --model mine.py:load --data ~/photos --eps 4/255 --deployed mine-int8.onnx

The folder holds one subfolder per class, named as the model names it (or by WordNet id). Stop at any time; the same command
continues."""


@app.command(epilog=EVALUATE_EXAMPLES)
def evaluate(
    model: Spec,
    data: Photos,
    eps: Annotated[
        str, typer.Option(metavar="EPS,...", help="The attacker's budget, such as 4/255; the first is the headline.")
    ] = "",
    attack: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            autocompletion=ATTACKS,
            help="See `escrime list`. Default: FGSM, AutoAttack; on a black box Square, RayS or HopSkipJump.",
        ),
    ] = "",
    norm: Annotated[str, typer.Option(autocompletion=NORM_NAMES, help=f"{' or '.join(NORMS)}.")] = DEFAULT,
    threat: Annotated[
        str | None,
        typer.Option(
            metavar="NORM[:EPS],...|all",
            autocompletion=THREATS,
            help="In place of --eps and --norm: several at once, such as linf:4/255,l2:0.5, or all. Where no ε is given, "
            f"the usual one: {usual_in_words()}.",
        ),
    ] = None,
    access: Annotated[
        str | None, typer.Option(autocompletion=ACCESS_NAMES, help=f"{' or '.join(ACCESS)}: what the attacker sees.")
    ] = None,
    surrogate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC,...",
            autocompletion=model_spec,
            help="Make examples on these networks too (MI-DI-TI-FGSM, or the --attack that follow gradients). Repeatable.",
        ),
    ] = None,
    deployed: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            autocompletion=model_spec,
            help="What is deployed in its place, such as its int8 or ONNX form: judged on the same examples.",
        ),
    ] = None,
    limit: Limit = None,
    mask: MaskFile = None,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    classes: Classes = None,
    name: Name = None,
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="Attack and check as hard as this time allows, such as 10min.")
    ] = None,
    seed: Seed = 0,
    device: Device = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Default: runs/evaluate-MODEL.")] = None,
    json_: Json = False,
    fail_under: FailUnder = None,
    strict: Strict = False,
    skip_unreadable: SkipUnreadable = False,
    anyway: Anyway = False,
    trust: Trust = False,
) -> None:
    """How robust is this model? Clean and robust accuracy on your images, with intervals, checks and a report."""
    from ..commands.evaluate.assessment import assess
    from ..commands.evaluate.request import Request
    from ..commands.evaluate.result import result, show
    from ..commands.shared.devices import processes
    from ..commands.shared.stdout import reserving_stdout

    check_gate(fail_under)
    time_left = None if budget is None else check_time("--budget", budget)
    request = Request(
        model,
        data,
        () if threat else epsilons(eps, norm),
        norm,
        access,  # type: ignore[arg-type]  # which Request checks
        split(attack),
        limit,
        size,
        time_left,
        seed,
        anyway,
        skip_unreadable,
        **normalization(mean, std),
        trust=trust,
        classes=classes,
        name=name,
        threats=threats(threat, eps, norm),
        mask=None if mask is None else str(mask),
        surrogates=tuple(spec for text in surrogate or () for spec in split(text)),
        deployed=deployed,
    )
    with reserving_stdout(json_), processes(device) as here:
        run = assess(request, out, device=here, command=command(), quiet=json_)
        if not run.team.first:
            return
        found = result(run)
        run.folder.write_json("answer.json", found)
        if not json_:
            show(run, found)
    if json_:
        typer.echo(json_text(found))
    if strict:
        believed(run.folder.path)
    if fail_under is not None:
        robust_enough(found["robust"]["accuracy"], fail_under)
