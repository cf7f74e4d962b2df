"""The pictures of a run: a few images per model, chosen from the records and attacked again, for figures 1, 2, 4 and 8."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ...attacks.core.base import Attack
from ...attacks.dgsm import DGSM
from ...attacks.fgsm import FGSM
from ...budgets import same, within
from ...data import ImageSet
from ...defenses import PredictionAveraging
from ...evaluation.parts import verdict_key
from ...evaluation.scoring import score
from ...files import whole, write_whole
from ...no_class import NO_TARGET
from ...randomness import row_keys
from ...results.threats import TRANSFER, WHITE_BOX

GALLERY, HELD, PATTERN_EPS = 12, 6, 0.2
SLIDES, FEWER, SMALL = 4, 2, 64  # images swept over ε; fewer of those larger than 64 px, whose frames take much room


class Examples:
    """Collects items for examples/MODEL.json and arrays for examples/MODEL.npz."""

    def __init__(
        self,
        model: str,
        network: nn.Module,
        test: ImageSet,
        records: pd.DataFrame,
        grid: list[float],
        headline: float,
        seed: int,
        device: torch.device,
    ):
        self.model, self.network, self.test, self.device = model, network, test, device
        self.records = records[records["model"] == model]
        self.grid, self.headline, self.seed = grid, headline, seed
        self.index = {name: i for i, name in enumerate(test.ids)}
        self.items: list[dict[str, Any]] = []
        self.arrays: dict[str, Tensor] = {}

    def fooled(self, eps: float) -> pd.DataFrame:
        """FGSM records of the undefended network at `eps`: right when clean, wrong when attacked; one class after another."""
        return self.in_turn(self.fgsm(eps).query("prediction != label"))

    def held(self, eps: float) -> pd.DataFrame:
        """Those that stay right at `eps`, in the same order."""
        return self.in_turn(self.fgsm(eps).query("prediction == label"))

    def one_after_another(self, count: int) -> list[str]:
        """Images that FGSM fools at different ε, from the first that falls to the one that holds longest."""
        wrong = self.fgsm().query("prediction != label")
        falls = wrong.groupby("image", sort=False)["eps"].min().sort_values(kind="stable")
        places = np.linspace(0, len(falls) - 1, min(count, len(falls))).round().astype(int)
        return list(falls.index[places])

    def fgsm(self, eps: float | None = None) -> pd.DataFrame:
        """FGSM records of the undefended network (at `eps`) for images it calls right when clean."""
        rows = self.records.query("defense == 'none' and attack == 'FGSM' and clean_prediction == label")
        return rows if eps is None else rows[same(rows["eps"], eps)]

    @staticmethod
    def in_turn(rows: pd.DataFrame) -> pd.DataFrame:
        """One class after another, the surest first."""
        rows = rows.sort_values("confidence", ascending=False, kind="stable")
        turn = rows.groupby("label").cumcount()
        return rows.assign(turn=turn).sort_values(["turn", "confidence"], ascending=[True, False], kind="stable")

    def eps_that_fools(self) -> float:
        """The headline ε, or the nearest one above it that fools an image."""
        grid = [eps for eps in self.grid if within(self.headline, eps)]
        return next((eps for eps in grid if len(self.fooled(eps))), self.headline)

    def add(
        self,
        figure: int | str,
        image: str,
        attack: Attack,
        *,
        ppa: PredictionAveraging | None = None,
        threat: str = WHITE_BOX,
        defense: str = "none",
    ) -> None:
        """One image under `attack`; with `ppa` one of its noisy copies too, and what it predicts."""
        assert isinstance(attack.eps, float)
        x, label = self.pixels([image])
        adversarial = attack(self.network, x, label, seed=self.seed, ids=[image])
        target = NO_TARGET if attack.target is None else attack.target
        facts = {"attack": attack.name, "eps": attack.eps, "defense": defense, "threat": threat, "target": target}
        item = self.put(figure, image, adversarial, facts)
        i = item["index"]
        alone = (0.5 + 0.5 * (adversarial - x) / attack.eps).clamp(0, 1)
        item["perturbation"] = self.predicted(self.network, alone, image)
        if ppa is not None:
            with row_keys([(self.seed, image, "examples")]):
                copies = ppa.noisy_copies(adversarial)
            copy = copies[min(1, len(copies) - 1)].clamp(0, 1)
            # The noise of the record that this image was chosen by, so that picture and record agree.
            key = verdict_key(self.seed, image)
            item |= {"copy": self.predicted(self.network, copy, image), "verdict": self.predicted(ppa, adversarial, image, key)}
            self.arrays[f"copy_{i}"] = copy[0]

    def put(self, figure: int | str, image: str, adversarial: Tensor, facts: dict[str, Any]) -> dict[str, Any]:
        """An image and what an attack made of it, (1, C, H, W), and what is predicted for both; the item, to add to."""
        x, label = self.pixels([image])
        i = len(self.items)
        item = {"figure": figure, "index": i, "image": image, "label": int(label), **facts}
        item["original"] = self.predicted(self.network, x, image)
        item["adversarial"] = self.predicted(self.network, adversarial, image)
        self.arrays |= {f"original_{i}": x[0], f"adversarial_{i}": adversarial[0]}
        self.items.append(item)
        return item

    def add_slider(self, image: str, attack: Attack) -> None:
        """One image under FGSM at every ε of the grid."""
        x, label = self.pixels([image])
        grid = self.grid
        swept = [found.adversarial for found in attack.sweep(self.network, x, label, grid, seed=self.seed, ids=[image])]
        predictions = [self.predicted(self.network, adversarial, image) for adversarial in swept]
        i = len(self.items)
        self.items.append(
            {
                "figure": "slider",
                "index": i,
                "image": image,
                "label": int(label),
                "attack": "FGSM",
                "epsilons": grid,
                "predictions": [found["prediction"] for found in predictions],
                "confidences": [found["confidence"] for found in predictions],
            }
        )
        self.arrays[f"slider_{i}"] = torch.cat(swept)

    def pixels(self, images: list[str]) -> tuple[Tensor, Tensor]:
        return self.test.batch([self.index[image] for image in images], device=self.device)

    def predicted(self, model: nn.Module, x: Tensor, image: str, key: tuple | None = None) -> dict[str, Any]:
        none = torch.full((1,), -1, device=x.device)
        verdict = score(model, x, torch.zeros_like(none), none, [key or (self.seed, image, "examples")], 1)
        return {"prediction": int(verdict.prediction), "confidence": float(verdict.confidence)}

    def save(self, folder: Path) -> None:
        """Write the arrays first and the list last: a list that exists is complete."""
        with whole(folder / f"{self.model}.npz", follow=False) as path, open(path, "wb") as file:
            arrays: dict[str, Any] = {name: array.detach().cpu().numpy() for name, array in self.arrays.items()}
            np.savez_compressed(file, **arrays)
        write_whole(folder / f"{self.model}.json", json.dumps(self.items, indent=1), follow=False)


def make_examples(
    folder: Path,
    model: str,
    network: nn.Module,
    ppa: PredictionAveraging | None,
    test: ImageSet,
    records: pd.DataFrame,
    attacks: Mapping[str, Attack],
    epsilons: dict[str, list[float]],
    headline: float,
    seed: int,
    device: torch.device,
) -> None:
    """Choose, attack and save the examples of one model: of the paper's two attacks, as far as the run has them."""
    examples = Examples(model, network, test, records, epsilons.get("FGSM", []), headline, seed, device)
    fgsm, dgsm = attacks.get("FGSM"), attacks.get("DGSM")
    if isinstance(fgsm, FGSM):
        _single_steps(examples, fgsm, ppa)
    if isinstance(dgsm, DGSM):
        dgsm = replace(dgsm, eps=PATTERN_EPS)
        others = f"defense == 'none' and clean_prediction == label and label != {dgsm.target}"
        clean = examples.records.query(others)
        for image in clean["image"].drop_duplicates()[:1]:
            examples.add(8, image, dgsm)
    if isinstance(fgsm, FGSM):
        _held_and_falling(examples, fgsm, SLIDES if test.images.shape[-1] <= SMALL else FEWER)
    examples.save(folder)


def _single_steps(examples: Examples, fgsm: FGSM, ppa: PredictionAveraging | None) -> None:
    """Figures 1, 2 and 4: what one step fools, and what prediction averaging saves of it."""
    fgsm = replace(fgsm, eps=(eps := examples.eps_that_fools()))
    fooled = examples.fooled(eps)
    for image in fooled["image"][:3]:
        examples.add(1, image, fgsm)
    if ppa is not None:
        saved = examples.records.query("defense == 'ppa' and threat == 'transfer' and attack == 'FGSM' and eps == @eps")
        saved = set(saved[saved["correct"] == 1]["image"])
        order = sorted(fooled["image"], key=lambda image: image not in saved)  # stable: those PPA saves come first
        for image in order[:2]:
            examples.add(2, image, fgsm, ppa=ppa, threat=TRANSFER, defense="ppa")
    for image in fooled["image"][:GALLERY]:
        examples.add(4, image, fgsm)


def _held_and_falling(examples: Examples, fgsm: FGSM, slides: int) -> None:
    """Images that stay right at the ε that fools others, and a few that fall one after another."""
    fgsm = replace(fgsm, eps=(eps := examples.eps_that_fools()))
    for image in examples.held(eps)["image"][:HELD]:
        examples.add("held", image, fgsm)
    for image in examples.one_after_another(slides):
        examples.add_slider(image, fgsm)
