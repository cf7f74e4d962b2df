"""Zero-shot classifiers of transformers, such as CLIP: a text about each class takes the place of the last layer."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import EscrimeError
from ..normalized import Normalized
from .loaded import Loaded

TEMPLATE = "a photo of a {}."  # of the CLIP paper, section 3.1.4
NEEDS_NAMES = "has no classes of its own: each is a text about an image. Name them with --classes FILE"


class ZeroShot(nn.Module):
    """A network that tells how well an image fits each of K texts: z_k = s · cos(image, text_k) + b, s and b as it learned.

    Source: Radford et al. (2021), Learning transferable visual models from natural language supervision, arXiv:2103.00020,
    figure 3; with b Zhai et al. (2023), Sigmoid loss for language image pre-training, arXiv:2303.15343.

    Args:
        network: Of transformers, with `get_image_features` and `get_text_features`.
        tokenizer: Of its texts.
        template: What is said of an image of a class, "{}" standing for its name.
    """

    texts: Tensor
    network: Any  # its methods are transformers' own

    def __init__(self, network: nn.Module, tokenizer: Any, template: str = TEMPLATE):
        super().__init__()
        self.network, self.tokenizer, self.template = network, tokenizer, template
        self.register_buffer("texts", torch.zeros(0, 0))

    @torch.no_grad()
    def name(self, classes: Sequence[str]) -> None:
        """Let these be the classes, in order. Of several names ("tench, Tinca tinca") the first is what the text says, where no
        other class has the same.

        Raises:
            EscrimeError: For fewer than two classes, one without a name, and two whose texts are the same to the network.
        """
        if len(classes) < 2:
            raise EscrimeError(f"a zero-shot model was given the classes {list(classes)}; give at least two, to choose among.")
        firsts = [name.partition(",")[0].strip() for name in classes]
        said = [first if firsts.count(first) == 1 else name for first, name in zip(firsts, classes, strict=True)]
        if not all(firsts):
            raise EscrimeError(f"class {firsts.index('')} has no name that a text could hold; give each a name with --classes.")
        texts = [self.template.format(name.replace("_", " ")) for name in said]
        longest = getattr(getattr(self.network.config, "text_config", None), "max_position_embeddings", None)
        # SigLIP has learned texts that are filled up, CLIP does not look at what fills them up.
        tokens = self.tokenizer(texts, padding="max_length", max_length=longest, truncation=True, return_tensors="pt")
        seen: dict[tuple[int, ...], str] = {}
        for name, row in zip(classes, map(tuple, tokens["input_ids"].tolist()), strict=True):
            if (other := seen.get(row)) is not None:
                raise EscrimeError(
                    f"the classes {other!r} and {name!r} are one text to the model, so it could never tell them apart; name "
                    "them apart with --classes, or shorten the text about each class."
                )
            seen[row] = name
        tokens = {name: tokens[name] for name in ("input_ids", "attention_mask") if name in tokens}
        self.texts = _unit(_features(self.network.get_text_features(**tokens)))

    def forward(self, images: Tensor) -> Tensor:
        """The logits (N, K) of images (N, 3, H, W), as the network wants them normalized."""
        found = _unit(_features(self.network.get_image_features(pixel_values=images))) @ self.texts.T
        bias = getattr(self.network, "logit_bias", None)
        scaled = found * self.network.logit_scale.exp()
        return scaled if bias is None else scaled + bias


def is_zero_shot(config: Any) -> bool:
    """Whether a model of transformers has a tower for images and one for texts, and no head of its own."""
    heads = [name for name in getattr(config, "architectures", None) or () if "ForImageClassification" in name]
    return hasattr(config, "text_config") and hasattr(config, "vision_config") and not heads


def check_template(text: str) -> str:
    """The text with one "{}" in it; EscrimeError for any other."""
    if text.count("{}") != 1 or set("{}") & set(text.replace("{}", "")):
        raise EscrimeError(f"the text {text!r} about each class has no single {{}} for its name; write {TEMPLATE!r}.")
    return text


def with_prompts(loaded: Loaded, otherwise: Callable[[], Sequence[str] | None]) -> Loaded:
    """A zero-shot model with texts for its classes: those it was given, or those that `otherwise` names; any other as it is.

    Raises:
        EscrimeError: Where nothing names them.
    """
    inner = loaded.model.network if isinstance(loaded.model, Normalized) else None
    if not isinstance(inner, ZeroShot):
        return loaded
    classes = loaded.classes or otherwise()
    if not classes:
        raise EscrimeError(f"{loaded.origin} {NEEDS_NAMES}, or give a folder of images with one subfolder per class.")
    inner.name(classes)
    return replace(loaded, classes=tuple(classes))


def _features(output: Any) -> Tensor:
    """(N, D) of what transformers returns, which was a tensor before its version 5."""
    return output if isinstance(output, Tensor) else output.pooler_output


def _unit(features: Tensor) -> Tensor:
    return features / features.norm(dim=-1, keepdim=True)
