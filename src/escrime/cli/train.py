"""`escrime train`: one training."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import EscrimeError
from .app import app
from .completion import ARCHITECTURES, DATASETS, OBJECTIVES
from .options import Device, Goals, Seed, Sets, Trust, command

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
    arch: Annotated[
        str, typer.Argument(autocompletion=ARCHITECTURES, help="The architecture (see `escrime list`), or timm:NAME.")
    ],
    data: Annotated[
        str,
        typer.Option(
            metavar="NAME", autocompletion=DATASETS, help="The dataset (see `escrime list`), such as digits or folder."
        ),
    ],
    folder: Annotated[Path | None, typer.Option(metavar="DIR", help="Where its images are; download nothing.")] = None,
    size: Annotated[int | None, typer.Option(metavar="PX", help="Edge length of the images.")] = None,
    train_size: Annotated[
        int | None, typer.Option(metavar="PX", help="Larger training images, for crops of the edge length --size.")
    ] = None,
    objective: Annotated[
        str, typer.Option(metavar="NAME", autocompletion=OBJECTIVES, help="What to minimize: clean, pgd, trades, n-fgsm, ...")
    ] = "clean",
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
        typer.Option(metavar="MODEL", help="Learn from its logits too: ARCH@FILE, torchvision:NAME, ..."),
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
    from ..commands.evaluate.request import short_name
    from ..commands.shared.devices import processes
    from ..commands.shared.settings import parse_settings
    from ..commands.train.train import TrainingJob, run_training
    from ..training import TrainSettings

    if train_size is not None and size is None:
        raise EscrimeError(f"--train-size {train_size} needs --size, the edge length of the crops; give that too.")
    own = {"epochs": epochs, "learning_rate": learning_rate, "batch_size": batch_size}
    chosen = parse_settings(set_ or [], own | {"crop_size": size if train_size else None})
    aim = parse_settings(goal or [], {"name": objective, "eps": eps})
    job = TrainingJob(
        arch,
        data,
        aim,
        TrainSettings(**chosen),
        folder,
        size,
        train_size,
        weights,
        head,
        seed=seed,
        teacher=teacher,
        trust=trust,
    )
    out = out or Path("runs") / f"{short_name(arch)}-{data}-{objective}"
    with processes(device) as here:
        run_training(job, out, device=here, command=command(), tensorboard=tensorboard)
