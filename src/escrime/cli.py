"""The command line: parse, call, print. Heavy imports happen inside the commands, so that --help answers at once."""

import errno
import io
import math
import os
import shlex
import sys
import warnings
from pathlib import Path
from traceback import format_exception
from typing import Annotated

import typer

from . import __version__
from .budgets import epsilon
from .errors import EscrimeError
from .norms import DEFAULT, NORMS
from .terminal import cut, json_line, json_text, printable

app = typer.Typer(
    name="escrime",
    help="How easily an image classifier can be fooled, what hardening it buys, and whether that answer can be believed.",
    epilog="Start with:  escrime run digits   (four minutes, no download)",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"escrime {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


def _check_seed(seed: int) -> int:
    from .randomness import check_seed

    return check_seed(seed)


# Options that several commands share.
Seed = Annotated[int, typer.Option(help="Seed of everything random.", callback=_check_seed)]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; default: a GPU if there is one.")]
Size = Annotated[int | None, typer.Option(metavar="PX", help="Edge length of the images; default: the model's own.")]
Mean = Annotated[
    str | None, typer.Option(metavar="M[,M,M]", help="Normalize with this mean instead of the model's own, such as 0.5.")
]
Std = Annotated[str | None, typer.Option(metavar="S[,S,S]", help="Its standard deviation, such as 0.229,0.224,0.225.")]
Strict = Annotated[bool, typer.Option(help="Exit with 3 if a validity check forbids to believe a number.")]
SkipUnreadable = Annotated[bool, typer.Option(help="Leave out, count and name unreadable images.")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any other training setting. Repeatable.")]
Goals = Annotated[
    list[str] | None, typer.Option("--goal", metavar="NAME=VALUE", help="Another setting of the objective. Repeatable.")
]
Spec = Annotated[
    str,
    typer.Option(
        metavar="SPEC",
        help="torchvision:NAME, timm:NAME, hf:ORG/NAME, ARCH@FILE, FILE.py:FUNCTION, FILE.pt2 (with --trust), FILE.onnx.",
    ),
]
Trust = Annotated[bool, typer.Option("--trust", help="Run the code that a .pt2 file may hold; you know its maker.")]

RUN_EXAMPLES = """Examples:

  escrime run digits

  escrime run imagenette --data ~/imagenette2 --limit 50

  escrime run imagenette --models mobilenet_v2 --weights mobilenet.safetensors --size 128

  escrime run mine.toml --out runs/mine --seed 1

The folder of a run is runs/NAME. Stop a run at any time; the same command continues it."""


@app.command(epilog=RUN_EXAMPLES)
def run(
    experiment: Annotated[str, typer.Argument(help="A shipped experiment (see `escrime list`) or a .toml file of yours.")],
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
    from .experiment import run_experiment

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
    folder = run_experiment(experiment, changes, device=device, out=out, command=_command())
    if strict:
        _believed(folder)


TRAIN_EXAMPLES = """Examples:

  escrime train lenet --data digits --epochs 10

  escrime train wide_resnet_small --data digits --objective n-fgsm --eps 0.15 --epochs 20 --set schedule=one-cycle

  escrime train mobilenet_v2 --data imagenette --folder ~/imagenette2 --size 128 --weights mobilenet.safetensors --head slice

  torchrun --nproc-per-node 2 -m escrime train googlenet --data imagenette --folder ~/imagenette2 --objective n-fgsm --eps 4/255

Several processes, on one machine or on many, share every batch: settings and results stay those of one, up to rounding and
BatchNorm. Stop a training at any time; the same command continues it. `escrime list` names architectures, datasets and
objectives."""


@app.command(epilog=TRAIN_EXAMPLES)
def train(
    arch: Annotated[str, typer.Argument(help="The architecture (see `escrime list`), or timm:NAME.")],
    data: Annotated[str, typer.Option(metavar="NAME", help="The dataset (see `escrime list`), such as digits or folder.")],
    folder: Annotated[Path | None, typer.Option(metavar="DIR", help="Where its images are; download nothing.")] = None,
    size: Annotated[int | None, typer.Option(metavar="PX", help="Edge length of the images.")] = None,
    train_size: Annotated[
        int | None, typer.Option(metavar="PX", help="Larger training images, for crops of the edge length --size.")
    ] = None,
    objective: Annotated[str, typer.Option(metavar="NAME", help="What to minimize: clean, pgd, trades, n-fgsm, ...")] = "clean",
    eps: Annotated[str | None, typer.Option(metavar="EPS", help="ε of an adversarial objective, such as 8/255.")] = None,
    epochs: Annotated[int | None, typer.Option(metavar="N", help="Passes over the training images.")] = None,
    learning_rate: Annotated[float | None, typer.Option(metavar="X", help="Peak learning rate.")] = None,
    batch_size: Annotated[int | None, typer.Option(metavar="N", help="Images per step.")] = None,
    set_: Sets = None,
    goal: Goals = None,
    weights: Annotated[str | None, typer.Option(metavar="FILE", help="Start from these: a file, a URL, 'torchvision'.")] = None,
    head: Annotated[
        str, typer.Option(help="The output layer of pre-trained weights: 'new', or 'slice' of its classes.")
    ] = "new",
    teacher: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Learn from its answers too: ARCH@FILE, torchvision:NAME, ..."),
    ] = None,
    seed: Seed = 0,
    device: Device = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Default: runs/ARCH-DATA-OBJECTIVE.")] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard's files too.")] = False,
    trust: Trust = False,
) -> None:
    """Train a network, clean or robust, into weights.safetensors and metrics.csv.

    Running again continues: nothing that is finished is computed twice.
    """
    from .experiment.devices import processes
    from .experiment.question import short_name
    from .experiment.training import Job, parse_settings, run_training
    from .training import TrainSettings

    if train_size is not None and size is None:
        raise EscrimeError(f"--train-size {train_size} needs --size, the edge length of the crops; give that too.")
    said = {"epochs": epochs, "learning_rate": learning_rate, "batch_size": batch_size}
    chosen = parse_settings(set_ or [], said | {"crop_size": size if train_size else None})
    aim = parse_settings(goal or [], {"name": objective, "eps": eps})
    given = dict(seed=seed, teacher=teacher, trust=trust)
    job = Job(arch, data, aim, TrainSettings(**chosen), folder, size, train_size, weights, head, **given)
    out = out or Path("runs") / f"{short_name(arch)}-{data}-{objective}"
    with processes(device) as here:
        run_training(job, out, device=here, command=_command(), tensorboard=tensorboard)


EVALUATE_EXAMPLES = """Examples:

  escrime evaluate --model torchvision:resnet50 --data ~/photos --eps 4/255

  escrime evaluate --model resnet18@weights.pth --data ~/photos --eps 2/255,4/255,8/255 --limit 200 --budget 10min

  escrime evaluate --model mine.py:load --data ~/photos --eps 4/255 --json --fail-under 0.4 --strict

The folder holds one subfolder per class, named as the model names it (or by WordNet id). Exit code 3: a validity check forbids
to believe the number (--strict); 4: less robust than --fail-under. Stop at any time; the same command continues."""


@app.command(epilog=EVALUATE_EXAMPLES)
def evaluate(
    model: Spec,
    data: Annotated[str, typer.Option(metavar="DIR", help="A folder of images, CLASS/*.jpg, or a dataset's name.")],
    eps: Annotated[str, typer.Option(metavar="EPS,...", help="The attacker's budget; the first is the headline.")],
    attack: Annotated[
        str,
        typer.Option(metavar="NAME,...", help="See `escrime list`. Default: FGSM, AutoAttack; on a black box Square or RayS."),
    ] = "",
    norm: Annotated[str, typer.Option(help=f"{' or '.join(NORMS)}.")] = DEFAULT,
    threat: Annotated[str | None, typer.Option(help="white-box, scores or labels: what the attacker sees.")] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", help="That many images, as many of each class.")] = None,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="The strongest answer this time allows, such as 10min.")
    ] = None,
    seed: Seed = 0,
    device: Device = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Default: runs/evaluate-MODEL.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the answer as JSON, and nothing else.")] = False,
    fail_under: Annotated[
        float | None, typer.Option(metavar="X", help="Exit with 4 if robust accuracy is below X (0 to 1).")
    ] = None,
    strict: Strict = False,
    skip_unreadable: SkipUnreadable = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Go on although clean accuracy is at chance.")] = False,
    trust: Trust = False,
) -> None:
    """How robust is this model? Clean and robust accuracy on your images, with intervals, checks and a report."""
    from .experiment.answer import answer, show
    from .experiment.aside import prints_aside
    from .experiment.assess import assess
    from .experiment.devices import processes
    from .experiment.question import Question
    from .models.deadline import seconds

    if fail_under is not None and not 0 <= fail_under <= 1:
        raise EscrimeError(f"--fail-under {fail_under:g} is no share of the images; give a number from 0 to 1, such as 0.4.")
    try:
        time_left = None if budget is None else seconds(budget)
    except (ValueError, KeyError):
        raise EscrimeError(f"--budget {budget!r} is no time; write 90s, 10min or 2h.") from None
    question = Question(
        model,
        data,
        _split(eps),
        norm,
        threat,
        _split(attack),
        limit,
        size,
        time_left,
        seed,
        anyway,
        skip_unreadable,
        **_normalization(mean, std),
        trust=trust,
    )
    with prints_aside(json_), processes(device) as here:
        run = assess(question, out, device=here, command=_command(), quiet=json_)
        if not run.team.first:
            return
        found = answer(run)
        run.folder.write_json("answer.json", found)
        if not json_:
            show(run, found)
    if json_:
        typer.echo(json_text(found))
    if strict:
        _believed(run.folder.path)
    if fail_under is not None and found["robust"]["accuracy"] < fail_under:
        typer.echo(f"robust accuracy {found['robust']['accuracy']:.1%} is below --fail-under {fail_under:g}", err=True)
        raise typer.Exit(4)


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
    seed: Seed = 0,
    device: Device = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the pictures go.")] = Path("adversarial"),
    trust: Trust = False,
) -> None:
    """Fool a model with photos of yours: adversarial pictures that stay adversarial as files."""
    from dataclasses import asdict

    from .experiment.aside import prints_aside
    from .experiment.devices import pick_device
    from .experiment.photos import attack_photos

    budget = None if eps is None else epsilon(eps)
    with prints_aside() as stdout:
        for result in attack_photos(
            photos,
            model,
            out,
            eps=budget,
            target=target,
            size=size,
            seed=seed,
            device=pick_device(device),
            **_normalization(mean, std),
            trust=trust,
            attacks=_split(attack),
        ):
            typer.echo(json_line(asdict(result)), file=stdout)
            if not result.fooled:
                reason = "it is the target already" if result.target == result.before else "no change within ε works"
                _say(f"{result.photo}: still {result.after}; {reason}.", err=True)


HARDEN_EXAMPLES = """Examples:

  escrime harden --model mine.py:load --data ~/photos --eps 4/255

  escrime harden --model torchvision:resnet18 --data ~/photos --eps 4/255 --objective trades --epochs 10 --out runs/hard

The folder holds train/CLASS/* and val/CLASS/*, or CLASS/*, of which a fifth is kept to judge by. The weights lie in
weights.safetensors. Stop at any time; the same command continues it."""


@app.command(epilog=HARDEN_EXAMPLES)
def harden(
    model: Spec,
    data: Annotated[str, typer.Option(metavar="DIR", help="Training and test images, or a dataset's name.")],
    eps: Annotated[str, typer.Option(metavar="EPS", help="The budget to train and to judge at, such as 4/255.")],
    objective: Annotated[str, typer.Option(metavar="NAME", help="What to minimize: n-fgsm, pgd, trades, ...")] = "n-fgsm",
    epochs: Annotated[int | None, typer.Option(metavar="N", help="Passes over the training images; default 5.")] = None,
    set_: Sets = None,
    goal: Goals = None,
    attack: Annotated[str, typer.Option(metavar="NAME,...", help="To judge by; default: FGSM and AutoAttack.")] = "",
    limit: Annotated[int | None, typer.Option(metavar="N", help="Judge by that many images.")] = None,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    seed: Seed = 0,
    device: Device = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Default: runs/harden-MODEL.")] = None,
    trust: Trust = False,
) -> None:
    """Make a model more robust by adversarial fine-tuning, and show what that bought: before and after in one report."""
    from .experiment.devices import pick_device
    from .experiment.harden import harden as harden_model
    from .experiment.question import Question
    from .experiment.training import parse_settings
    from .report.validity import read_verdicts

    rest = {"seed": seed, "trust": trust, **_normalization(mean, std)}
    question = Question(model, data, (eps,), attacks=_split(attack), limit=limit, size=size, **rest)
    aim = parse_settings(goal or [], {"name": objective, "eps": None if objective == "clean" else eps})
    chosen = parse_settings(set_ or [], {"epochs": epochs})
    run = harden_model(question, out, goal=aim, training=chosen, device=pick_device(device), command=_command())
    for verdict in read_verdicts(run.folder.path):
        run.display.say(("" if verdict["believe"] else "NOT AS IT STANDS: ") + verdict["sentence"])
    run.display.say(f"Weights: {run.folder / 'weights.safetensors'}. Report: {run.folder / 'report.html'}")


TUNE_EXAMPLES = """Examples:

  escrime tune --model lenet@weights.safetensors --data digits --eps 0.1

  escrime tune --model torchvision:resnet18 --data ~/photos --eps 4/255 --eps-max 2/255,8/255,16/255 --samples 4,16 --limit 400

  escrime tune --model mine.py:load --data ~/photos --eps 8/255 --json | jq .verdict

Half of the images choose, the other half validates what was chosen. Stop at any time; the same command continues it."""


@app.command(epilog=TUNE_EXAMPLES)
def tune(
    model: Spec,
    data: Annotated[str, typer.Option(metavar="DIR", help="A folder of images, CLASS/*.jpg, or a dataset's name.")],
    eps: Annotated[str, typer.Option(metavar="EPS", help="The attacker's budget, such as 8/255.")],
    eps_max: Annotated[str, typer.Option(metavar="EPS,...", help="Radii of the noise to try.")] = "0.01,0.03,0.1,0.3",
    samples: Annotated[str, typer.Option(metavar="N,...", help="Numbers of copies to try.")] = "2,4,8,16",
    against: Annotated[
        str, typer.Option(help="The attacker who counts: adaptive (knows the defense) or transfer (ignores it).")
    ] = "adaptive",
    limit: Annotated[int | None, typer.Option(metavar="N", help="That many images in all, as many of each class.")] = None,
    steps: Annotated[int, typer.Option(metavar="N", help="Steps of PGD.")] = 20,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    seed: Seed = 0,
    device: Device = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Default: runs/tune-MODEL.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")] = False,
    skip_unreadable: SkipUnreadable = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Go on although clean accuracy is at chance.")] = False,
    trust: Trust = False,
) -> None:
    """Choose ε_max and N of prediction averaging (PPA) by clean and attacked accuracy, and validate the choice."""
    from .evaluation.shared_copies import Grid
    from .experiment.aside import prints_aside
    from .experiment.devices import pick_device
    from .experiment.progress import Display
    from .experiment.question import Question
    from .experiment.tune import tune_model
    from .experiment.tuned import show

    try:
        copies = tuple(int(word) for word in _split(samples))
    except ValueError:
        raise EscrimeError(f"--samples {samples!r} is no list of whole numbers; write 2,4,8,16.") from None
    grid = Grid(eps, _split(eps_max), copies, against, steps)
    rest = {"seed": seed, "anyway": anyway, "skip_unreadable": skip_unreadable, "trust": trust, **_normalization(mean, std)}
    question = Question(model, data, (eps,), limit=limit, size=size, **rest)
    with prints_aside(json_):
        folder, result = tune_model(question, grid, out, device=pick_device(device), command=_command(), quiet=json_)
    if json_:
        typer.echo(json_text(result))
    else:
        show(Display(), folder, result)


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _normalization(mean: str | None, std: str | None) -> dict:
    """--mean and --std as Question and load_model take them."""
    from .models.specs.normalizing import channel_numbers

    return {"mean": channel_numbers("--mean", mean), "std": channel_numbers("--std", std)}


def _believed(folder: Path) -> None:
    """Leave with exit code 3 and the sentences of the verdicts that may not be believed."""
    from .report.validity import read_verdicts

    doubted = [verdict["sentence"] for verdict in read_verdicts(folder) if not verdict["believe"]]
    for sentence in doubted:
        _say(f"not to be believed: {sentence}", err=True)
    if doubted:
        raise typer.Exit(3)


REPORT_EXAMPLES = """Examples:

  escrime report runs/digits

  escrime report runs/digits --format json | jq '.verdicts[].sentence'

  escrime report runs/digits --format md --out appendix.md

  escrime report runs/digits --format pdf

html and pdf draw the figures again. json and md draw nothing: one document goes to the screen, or to the file of --out."""


@app.command(epilog=REPORT_EXAMPLES)
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, such as runs/digits.")],
    format: Annotated[
        str, typer.Option(metavar="FORMAT", help="html, md, json, or pdf (needs an installed Chromium).")
    ] = "html",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Default: the screen for md and json, else RUN/report.FORMAT.")
    ] = None,
    strict: Strict = False,
) -> None:
    """Draw the figures, the claims table and report.html again, from the records alone; or give them in another format."""
    from .report.formats import known_format, report_files, report_text

    if known_format(format) in ("md", "json"):
        text = report_text(folder, format)
        if out is None:
            typer.echo(printable(text, lines=True), nl=False)
        else:
            from .files import write_whole

            write_whole(out, text)
            _say(f"wrote {out}")
    else:
        files = report_files(folder, format, out)
        _say(f"{len(files)} files drawn; open {files[-1]}")
    if strict:
        _believed(folder)


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
    json_: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON, and nothing else.")] = False,
) -> None:
    """Two models or two versions side by side, image by image: is the second really better?"""
    from .report.side_by_side import as_json, compare_runs
    from .report.side_by_side_table import show

    budgets: tuple[float, ...] = ()
    if eps:
        budgets = tuple(epsilon(word, math.inf) for word in _split(eps))
    found = compare_runs(first, second, _split(models), attacks=_split(attack), epsilons=budgets)
    if json_:
        typer.echo(json_text(as_json(found)))
    else:
        show(found)


@app.command("list")
def list_(
    json_: Annotated[bool, typer.Option("--json", help="Print it as JSON, with all that is known of each.")] = False,
) -> None:
    """Say what there is: experiments, datasets, architectures, attacks, defenses, training objectives.

    Behind an attack: its norms, what the model must give away, and what it looks for.

    Examples:  escrime list;  escrime list --json | jq .attacks
    """
    from .experiment.catalog import as_lines, catalog

    found = catalog()
    typer.echo(json_text(found) if json_ else "\n".join(as_lines(found)))


def _say(text: str, err: bool = False) -> None:
    """One line on the terminal, whatever the names in it hold."""
    typer.echo(printable(text), err=err)


def _command() -> str:
    """The command as it can be typed again."""
    return shlex.join(["escrime", *sys.argv[1:]])


def main() -> None:
    """Entry point: one sentence on bad input, a traceback only with --debug."""
    # Threads that sleep while they wait cost little on an idle machine; spinning ones make a shared one 10 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # where a terminal has no ε, a question mark will do
            stream.reconfigure(errors="replace")
    debug = "--debug" in sys.argv[1:]
    formats = warnings.formatwarning
    if not debug:  # the sentence, without the line of code that says it
        warnings.formatwarning = lambda message, *_, **__: f"warning: {printable(message)}\n"
    if debug:  # accepted anywhere on the line
        sys.excepthook = lambda *error: typer.echo(printable("".join(format_exception(*error)), lines=True), nl=False, err=True)
        sys.argv = [sys.argv[0], *(word for word in sys.argv[1:] if word != "--debug")]
    try:
        app()
    except EscrimeError as error:
        if debug:
            raise
        _say(f"error: {cut(error)}", err=True)
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as stopped:  # typer makes the second of the first
        if isinstance(stopped, SystemExit) and stopped.code != 130:
            raise
        typer.echo("", err=True)
        _say(f"stopped; what is finished is kept. Continue with: {_command()}", err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            _say(f"error: nothing more can be written here ({error.strerror}); free some space, and run again.", err=True)
            sys.exit(2)
        _say(
            f"error: {type(error).__name__}: {cut(error)}. This is a defect of escrime or of a model it was given; "
            f"see the traceback with: {_command()} --debug",
            err=True,
        )
        sys.exit(1)
    finally:
        warnings.formatwarning = formats
