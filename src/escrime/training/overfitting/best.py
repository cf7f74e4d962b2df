"""The weights of the best epoch, kept in memory and, with a checkpoint folder, in a file beside the last state.

The file is written right after that of the last state, which is written in every epoch that has new weights for this one.
So whenever a run was killed, the best epoch is either the last one, whose weights the last state holds too, or an earlier one,
whose file is complete.
"""

import json
from pathlib import Path

from torch import Tensor, nn

from ...errors import EscrimeError
from ...files import whole
from ...models.loading.matching import overwrite
from ...models.loading.weights import read_safetensors
from ..checkpoint import write_tensors

BEST = "best.safetensors"


class Best:
    """`weights`: name → tensor on the CPU, as `model.state_dict()` names them, after `epoch` (from 1; 0: none yet).

    unsaved: whether they were taken since they were written. path: the file, which `escrime.models.load_weights` reads, or
    None. identity: of the run (see identity.py).
    """

    def __init__(self, path: Path | None, identity: dict | None):
        self.path, self.identity = path, identity
        self.epoch = 0
        self.weights: dict[str, Tensor] = {}
        self.unsaved = False

    def take(self, model: nn.Module, epoch: int) -> None:
        """Copy what the model holds."""
        self.weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}
        self.epoch, self.unsaved = epoch, True

    def save(self) -> None:
        """Write what was taken since the last call, whole or not at all."""
        if self.path is not None and self.unsaved:
            metadata = {"escrime": json.dumps({"epoch": self.epoch, "identity": self.identity})}
            with whole(self.path) as temporary:
                write_tensors(temporary, self.weights, metadata)
        self.unsaved = False

    def load(self, epoch: int) -> None:
        """Read the file, which must be of this run's epoch `epoch`."""
        assert self.path is not None  # only a run with a checkpoint is continued
        try:
            weights, content = read_safetensors(self.path)
            if content.get("epoch") != epoch or content.get("identity") != self.identity:
                raise EscrimeError(f"{self.path} holds other weights.")
        except EscrimeError as error:
            raise EscrimeError(
                f"{error} The run to be continued had its best weights after epoch {epoch}; put that file back, or delete "
                "the checkpoint folder to start again."
            ) from None
        self.weights, self.epoch, self.unsaved = weights, epoch, False

    def restore(self, model: nn.Module) -> None:
        """Put the weights into the model."""
        overwrite(model, self.weights)
