"""Models of torchvision, timm and the Hugging Face hub; normalization, size and class names from their own metadata."""

import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ...errors import EscrimeError, needs_extra
from ...online import OFFLINE, SECONDS, unreachable
from ...regular_files import check_regular, expanded, is_folder, most_weights, reason
from ...specifications import names_a_file
from ..architectures import TIMM, architecture, import_timm, published_weights
from ..normalized import Normalized
from ..registry import build
from .files import from_weights
from .loaded import Loaded, normalization, wnids_of
from .zero_shot import TEMPLATE, ZeroShot, check_template, is_zero_shot


def from_torchvision(text: str) -> Loaded:
    """NAME or NAME@WEIGHTS, such as resnet50@IMAGENET1K_V2 or resnet50@FILE; the first published weights where none are
    named."""
    name, _, wanted = text.partition("@")
    arch = architecture(name)
    if arch.builder is not None and names_a_file(wanted):
        return replace(from_weights(name, wanted), origin=f"torchvision:{text}")
    if arch.builder is None:
        raise EscrimeError(f"torchvision has no {name!r}; it is escrime's own: give {name}@FILE.")
    member = published_weights(arch.builder, wanted or None)
    classes = tuple(member.meta["categories"])
    model = build(name, len(classes), weights=f"torchvision:{member.name}")
    size = member.transforms().crop_size[0]
    return Loaded(
        model,
        f"torchvision:{name}@{member.name}",
        classes,
        wnids_of(len(classes)),
        size,
        normalization=normalization(model, "torchvision"),
    )


def from_timm(name: str) -> Loaded:
    """A timm model, by timm's own name for it: with its published weights, or as NAME@FILE with those of a file."""
    timm = import_timm()
    name, at, file = name.partition("@")
    if at:
        return from_weights(TIMM + name, file)
    _refuse_odd_files(expanded(name.removeprefix("local-dir:")))
    try:
        # Of any source, its own and others' hubs among them, timm reads tensors alone (torch.load with weights_only).
        known = timm.is_model(name.partition(".")[0]) if ":" not in name else not name.startswith("local-dir:")
        with _hub(f"timm's {name!r}", f"timm:{name}@FILE") if known else nullcontext():
            network = timm.create_model(name, pretrained=True)
    except EscrimeError:
        raise
    except Exception as error:  # an unknown name, no network, weights of another version
        raise EscrimeError(
            f"timm cannot make {name!r} ({_first_line(error)}); see timm.list_models(pretrained=True)."
        ) from None
    published = network.pretrained_cfg
    channels, high, wide = published["input_size"]
    if channels != 3 or high != wide:
        raise EscrimeError(f"timm's {name!r} takes images of {channels} × {high} × {wide}; escrime gives 3 × N × N.")
    count = int(published["num_classes"])
    names = published.get("label_names")
    model = Normalized(network, published["mean"], published["std"]).eval()
    return Loaded(
        model,
        f"timm:{name}",
        tuple(names) if names else _timm_names(network, count),
        wnids_of(count),
        high,
        normalization=normalization(model, "timm"),
    )


def _timm_names(network: nn.Module, count: int) -> tuple[str, ...] | None:
    try:
        from timm.data import ImageNetInfo, infer_imagenet_subset

        info = ImageNetInfo(infer_imagenet_subset(network) or "imagenet-1k")
        return tuple(info.index_to_description(i) for i in range(count)) if info.num_classes() == count else None
    except Exception:  # another version of timm keeps its names elsewhere
        return None


def from_hugging_face(text: str) -> Loaded:
    """An image classifier of transformers: ORG/NAME on the hub, or a folder; of a zero-shot model (see `zero_shot`) also
    NAME@TEMPLATE, its text about a class."""
    try:
        import transformers
    except ImportError:
        raise needs_extra("Hugging Face models", "transformers", "hf") from None
    name, at, template = text.partition("@")
    template = check_template(template) if at else TEMPLATE
    _refuse_odd_files(expanded(name))
    try:
        # False, not left out: by default transformers asks a person at a terminal whether to run the code beside a model.
        on_hub = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) and not is_folder(expanded(name))
        with _hub(f"Hugging Face's {name!r}", "hf:FOLDER") if on_hub else nullcontext():
            prompted = is_zero_shot(transformers.AutoConfig.from_pretrained(name, trust_remote_code=False))
            kind = transformers.AutoModel if prompted else transformers.AutoModelForImageClassification
            network = kind.from_pretrained(name, use_safetensors=True, trust_remote_code=False)
            processor = transformers.AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
            if prompted:
                network = ZeroShot(network, transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False), template)
        config = network.network.config if prompted else network.config
        classes = () if prompted else tuple(str(config.id2label[i]) for i in range(len(config.id2label)))
    except EscrimeError:
        raise
    except Exception as error:  # unknown, private, no network, no image classifier
        raise EscrimeError(f"Hugging Face's {name!r} cannot be loaded ({_first_line(error)}); check the name.") from None
    sizes = [getattr(processor, "crop_size", None), getattr(processor, "size", None)]
    vision = (config.vision_config if prompted else config).to_dict()
    size = next((side for side in map(_side, [*sizes, vision.get("image_size")]) if side), None)
    mean, std = (getattr(processor, f"image_{what}", None) for what in ("mean", "std"))
    if not getattr(processor, "do_normalize", True) or mean is None:
        mean, std = 0.0, 1.0
    if std is None:
        raise EscrimeError(
            f"Hugging Face's {name!r} has a mean and no standard deviation; repair its preprocessor_config.json."
        )
    model = Normalized(network if prompted else _Logits(network), mean, std).eval()
    said = normalization(model, "the image processor")
    if prompted:
        return Loaded(model, f"hf:{text}", size=size, normalization=said)
    named = not all(label == f"LABEL_{i}" for i, label in enumerate(classes))
    return Loaded(model, f"hf:{name}", classes if named else None, wnids_of(len(classes)), size, normalization=said)


@contextmanager
def _hub(what: str, instead: str) -> Iterator[None]:
    """Within the block the hub's library reads its cache alone where the hub cannot be reached: it would try again for minutes.

    Raises:
        EscrimeError: Where the cache lacks it then; it says what to write `instead`.
    """
    from huggingface_hub import constants

    reason = unreachable(constants.ENDPOINT)
    before, waiting = constants.HF_HUB_OFFLINE, socket.getdefaulttimeout()
    if reason is not None:
        constants.HF_HUB_OFFLINE = True
        socket.setdefaulttimeout(SECONDS)  # for what comes from elsewhere
    try:
        yield
    except Exception:
        if reason is None:
            raise
        raise EscrimeError(
            f"{what} is not in the cache, and {OFFLINE} ({reason}); connect, or fetch the model elsewhere and write {instead}."
        ) from None
    finally:
        constants.HF_HUB_OFFLINE = before
        socket.setdefaulttimeout(waiting)


class _Logits(nn.Module):
    """A transformers classifier that returns its logits alone."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.classifier = network

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(pixel_values=images).logits


def _side(size: Any) -> int | None:
    if isinstance(size, Mapping) or hasattr(size, "get"):
        size = size.get("height") or size.get("shortest_edge")
    return size if isinstance(size, int) and size > 0 else None


def _refuse_odd_files(folder: Path) -> None:
    """A library opens what lies in a model's folder by its name, and waits for a pipe. Raises EscrimeError for one."""
    if not is_folder(folder):
        return
    for path in sorted(folder.iterdir()):
        try:
            if not is_folder(path):
                check_regular(path, most_weights())
        except OSError as error:
            raise EscrimeError(f"the model folder {folder} holds {path.name}, but {reason(error)}; remove it.") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
