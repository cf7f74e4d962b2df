"""Everything needed to continue a training run, in one safetensors file written whole or not at all. No pickle.

Tensors: "model.*" (weights and buffers), "buffer.*" (those that the model keeps out of its state dict),
"optimizer.STATE.PARAMETER", "average.*" (with EMA). The metadata hold one
JSON text: which run it is (`identity`), how many epochs are done, and their records. Random numbers need no state:
they are drawn from (seed, image id, epoch).
"""

import json
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import EscrimeError
from ..files import leftovers, whole
from ..models.loading.matching import overwrite
from .averaging import Average

FORMAT = 2
QUICK = 1.0  # seconds that writing may take after every epoch
SHARE = 10  # what takes longer is written again after so many times what it took
LAST = "last.safetensors"
ELSEWHERE = "give another folder (--out of a command), or delete that file to start again"


@dataclass
class Checkpoint:
    """The file of one run. `identity` is a flat dict of JSON values; a file with another one is refused.

    `initial` is a hash of the weights the run starts from. A file that started from others is continued with a warning,
    since a script that does not seed its model could otherwise never resume, or refused where the run is `strict`.
    `tested_on`: fingerprint and ε of the images that the log is measured on, "" where nobody is told of any: a run that is not
    finished goes on with the same. `epochs`: how many are done in the file.
    """

    path: Path
    identity: dict
    initial: str = ""
    strict: bool = False
    tested_on: str = ""
    epochs: int = field(default=0, init=False)
    _took: float = field(default=0.0, init=False)
    _written: float = field(default=0.0, init=False)

    def due(self) -> bool:
        """Whether to write after an epoch: always where that is quick, else so that training keeps most of the time. On a GPU
        an epoch may take two seconds, and the state of a large network with AdamW is a gigabyte."""
        return self._took < QUICK or time.monotonic() - self._written > SHARE * self._took

    def save(self, model: nn.Module, optimizer: Optimizer, average: Average | None, epochs: int, history: list) -> None:
        """Write the state after `epochs` epochs. On failure the file that was there before is untouched."""
        begin = time.monotonic()
        tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
        tensors |= {f"buffer.{name}": buffer for name, buffer in _unsaved(model)}
        for name, parameter in _trainable(model):
            for key, value in optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{key}.{name}"] = value
        if average is not None:
            tensors |= {f"average.{name}": tensor for name, tensor in average.shadow.items()}
        content = {"format": FORMAT, "identity": self.identity, "initial": self.initial}
        content |= {"epochs": epochs, "history": history, "tested_on": self.tested_on}
        try:
            with whole(self.path) as temporary:
                write_tensors(temporary, tensors, {"escrime": json.dumps(content)})
        except EscrimeError as error:
            where = f"after epoch {self.epochs}" if self.epochs else "from the start"
            raise EscrimeError(f"{error} Run the same command to continue {where}.") from error
        self.epochs, self._written = epochs, time.monotonic()
        self._took = self._written - begin

    def load(self, model: nn.Module, optimizer: Optimizer, average: Average | None) -> tuple[int, list[dict]]:
        """Put the saved state into model, optimizer and average; returns (epochs done, their records), (0, []) if none.

        Raises:
            EscrimeError: For a damaged file and for one of another run, with the first difference.
        """
        for left in leftovers(self.path):
            left.unlink(missing_ok=True)
        if not self.path.exists():
            return 0, []
        try:
            with safe_open(self.path, framework="pt") as file:
                content = _checked(json.loads((file.metadata() or {})["escrime"]))
                if content["format"] == FORMAT:
                    self._check(content["identity"])
                    tensors = {key: file.get_tensor(key) for key in file.keys()}
        except EscrimeError:
            raise
        except (OSError, SafetensorError, KeyError, ValueError, RecursionError) as error:
            raise self._damaged(error) from error
        if content["format"] != FORMAT:
            raise EscrimeError(f"{self.path} was written by another version of escrime; delete it to start again.")
        if content["initial"] != self.initial:
            others = f"{self.path} started from other initial weights than the model given here"
            if self.strict:
                raise EscrimeError(f"{others}; {ELSEWHERE}.")
            warnings.warn(f"{others}; its weights are used. Delete it to start from the model's.", stacklevel=5)
        before = content.get("tested_on", "")
        if self.tested_on and before not in ("", self.tested_on) and content["epochs"] < self.identity["epochs"]:
            raise EscrimeError(
                f"{self.path} was tested on other images, or at another ε, which one log cannot hold; give those of before, or "
                f"{ELSEWHERE.removeprefix('give ')}."
            )
        self.tested_on = self.tested_on or before
        self.initial = content["initial"]
        try:
            self._restore(tensors, model, optimizer, average)
        except (KeyError, RuntimeError, TypeError) as error:  # a tensor that is missing, or of another shape
            raise self._damaged(error) from error
        self.epochs = content["epochs"]
        return self.epochs, content["history"]

    def _restore(self, tensors: dict[str, Tensor], model: nn.Module, optimizer: Optimizer, average: Average | None) -> None:
        overwrite(model, _under("model.", tensors))
        for name, buffer in _unsaved(model):
            buffer.copy_(tensors[f"buffer.{name}"])
        for name, parameter in _trainable(model):
            for key in {key.split(".", 2)[1] for key in tensors if key.startswith("optimizer.")}:
                saved = tensors.get(f"optimizer.{key}.{name}")
                if saved is not None:
                    like = parameter.detach() if saved.shape == parameter.shape else saved
                    state = torch.empty_like(like, dtype=saved.dtype, device=parameter.device)
                    optimizer.state[parameter][key] = state.copy_(saved)
        if average is not None:
            average.load(_under("average.", tensors))

    def _damaged(self, error: Exception) -> EscrimeError:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return EscrimeError(f"{self.path} is not a readable training checkpoint ({reason}); delete it to start again.")

    def _check(self, saved: dict) -> None:
        for key in self.identity | saved:
            there, here = saved.get(key), self.identity.get(key)
            if there != here:
                what = key.replace(".", " ").replace("_", " ")
                raise EscrimeError(
                    f"{self.path} belongs to another training run: its {what} is {_short(there)}, "
                    f"here it is {_short(here)}; {ELSEWHERE}."
                )


def _checked(content: object) -> dict:
    """What the metadata hold, if it is what `save` writes. Raises ValueError or KeyError otherwise."""
    if not isinstance(content, dict):
        raise ValueError(f"a {type(content).__name__} where an object should be")
    if content["format"] != FORMAT:
        return content
    epochs, history = content["epochs"], content["history"]
    if not (isinstance(content["identity"], dict) and isinstance(content["initial"], str) and isinstance(epochs, int)):
        raise ValueError("identity, initial or epochs is of another kind")
    if not isinstance(history, list) or len(history) != epochs or not all(map(_is_record, history)):
        raise ValueError(f"the history is no list of {epochs} epochs with their numbers")
    return content


def _is_record(row: object) -> bool:
    return isinstance(row, dict) and "epoch" in row and all(type(value) in (int, float) for value in row.values())


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file; OSError for what the disk refused."""
    # safetensors wants dense tensors that share no memory, which tied or channels-last weights are not
    dense = {key: tensor.detach().to("cpu", copy=True).contiguous() for key, tensor in tensors.items()}
    try:
        save_file(dense, path, metadata)
    except SafetensorError as error:  # how safetensors reports what the disk refused
        raise OSError(str(error)) from error


def _trainable(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def _unsaved(model: nn.Module) -> list[tuple[str, Tensor]]:
    """Buffers that are registered as not persistent."""
    kept = model.state_dict().keys()
    return [(name, buffer) for name, buffer in model.named_buffers() if name not in kept]


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "…"
