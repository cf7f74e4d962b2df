"""A run folder, read once: manifest, records as sweeps, examples, analysis, training logs."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd

from ..errors import EscrimeError, shortened
from ..norms import DEFAULT
from ..results.deployment import Paired, deployment
from ..results.keys import last_of
from ..results.layout import check_inside
from ..results.manners import SINGLE, manner_of
from ..results.names import mask_in_words, place
from ..results.reading import REBUILT, load_arrays, read_json, read_log
from ..results.records import in_subset, read_deployed, read_records, shows_chance, subset_names, worst_case
from ..results.schema import StoredAnalysis, StoredExamples, StoredManifest
from ..results.threats import ADAPTIVE, TRANSFER, UNDEFENDED
from .sweep import Sweep, build_sweeps, one_sweep

MAIN_SUBSET = "val"


@dataclass(frozen=True)
class Example:
    """One recorded example: its JSON entry and its images, float32 (3, H, W) in [0, 1], by name ("original", ...)."""

    entry: dict
    images: dict[str, np.ndarray]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["entry"][name]
        except KeyError:
            raise AttributeError(name) from None


@dataclass
class Run:
    """Everything the report says comes from here. `sweeps` is keyed by (model, defense, threat, attack)."""

    folder: Path
    manifest: dict
    records: pd.DataFrame
    sweeps: dict[tuple[str, str, str, str], Sweep] = field(repr=False)
    deployed: pd.DataFrame | None = None
    _worst: dict[tuple[str, str, str], pd.DataFrame] = field(default_factory=dict, repr=False)
    _examples: dict[str, list[Example]] = field(default_factory=dict, repr=False)

    @cached_property
    def models(self) -> list[str]:
        """Models with records, in the manifest's order."""
        recorded = dict.fromkeys(key[0] for key in self.sweeps)
        listed = [name for name in self.manifest.get("models", {}) if name in recorded]
        return listed + [name for name in recorded if name not in listed]

    @cached_property
    def subsets(self) -> list[str | None]:
        """Subsets with records, the one the paper compares with first; [None] when there is one way to count."""
        names = subset_names(self.records)
        return sorted(names, key=lambda name: name != MAIN_SUBSET) if names != [None] else names

    @cached_property
    def norm(self) -> str:
        """The norm that the first lines are about: of several the first that was asked for, else l_inf where it is one."""
        norms = list(self.records["norm"].unique())
        asked = self.manifest.get("experiment", {}).get("norm")
        return next((name for name in (asked, DEFAULT) if name in norms), str(norms[0]))

    @cached_property
    def _norms(self) -> dict[str, str]:
        rows = self.records[self.records["eps"] > 0].drop_duplicates("attack")
        return dict(zip(rows["attack"].astype(str), rows["norm"].astype(str)))

    def norm_of(self, attack: str) -> str:
        """The norm that the ε of an attack, by its label, is measured in; of a worst case that behind its name."""
        return self._norms.get(attack) or attack.partition(", ")[2] or self.norm

    @cached_property
    def deployment(self) -> list[Paired]:
        """The model and what is deployed in its place, on the images of the main subset; [] where nothing is."""
        shown = None if self.deployed is None else in_subset(self.deployed, self.main_subset)
        return deployment(in_subset(self.records, self.main_subset), shown)

    @property
    def deployed_name(self) -> str:
        """What is deployed in the model's place, as it was named."""
        return "" if self.deployed is None else str(self.deployed["model"].iloc[0])

    @property
    def main_subset(self) -> str | None:
        return self.subsets[0]

    @property
    def classes(self) -> list[str]:
        return self.manifest.get("dataset", {}).get("classes", [])

    @property
    def data_name(self) -> str:
        """What the data are called; a folder of images by its own name."""
        name, settings = self.manifest.get("dataset", {}).get("name") or "", self.manifest.get("experiment", {})
        own = settings.get("data")
        place = settings.get("images") or (own.get("folder") if isinstance(own, dict) else None)
        return PurePath(place).name or name if name == "folder" and isinstance(place, str) else name

    @property
    def mask(self) -> str:
        """Which pixels attacks could change, in words; "" where that was all of them."""
        found = self.manifest.get("experiment", {}).get("mask")
        return mask_in_words(found) if found else ""

    @property
    def surrogates(self) -> str:
        """The networks that examples were made on as well, and how many of a few images each gets right; "" where there are
        none."""
        looked = {
            one["model"]: one for known in self.manifest.get("models", {}).values() for one in known.get("surrogates") or ()
        }
        texts = [
            f"{spec} (gets {looked[spec]['right']} of {looked[spec]['of']} images right)" if spec in looked else spec
            for spec in self.manifest.get("experiment", {}).get("surrogates") or {}
        ]
        return ", ".join(texts)

    @property
    def class_count(self) -> str:
        """How many classes the images are of: "10 classes", or "10 of 1000 classes" of the model's."""
        present, known = self.records["label"].nunique(), len(self.classes)
        return f"{present} of {known} classes" if known > present else f"{present} classes" if present != 1 else "1 class"

    @property
    def left_out(self) -> str:
        """Which pictures of the data are not among the images, and why; "" where all are."""
        files = (self.manifest.get("dataset") or {}).get("left_out") or {}
        shown = shortened((f"{name} ({reason.rstrip('.')})" for name, reason in files.items()), between="; ")
        return f"{len(files):,} left out: {shown}" if files else ""

    def class_name(self, index: int) -> str:
        """The name of class `index`, or its number where the manifest has no name."""
        return str(self.classes[index]) if 0 <= index < len(self.classes) else f"class {index}"

    def stands_for(self, model: str) -> str | None:
        """The paper's network whose place `model` takes, or None."""
        return self.manifest.get("models", {}).get(model, {}).get("stands_for")

    def arch(self, model: str) -> str:
        return self.manifest.get("models", {}).get(model, {}).get("arch", model)

    def sweep(self, model: str, defense: str, threat: str, attack: str, subset: str | None = None) -> Sweep | None:
        """The sweep of one attack on one defended model over the images of `subset`, or None when it was not run."""
        sweep = self.sweeps.get((model, defense, threat, attack))
        return sweep.within(subset) if sweep is not None else None

    def undefended(self, model: str, attack: str, subset: str | None = None) -> Sweep | None:
        """The sweep of one attack on a model without a defense, or None when it was not run."""
        found = (self.sweep(model, "none", threat, attack, subset) for threat in UNDEFENDED)
        return next((sweep for sweep in found if sweep is not None), None)

    def first_sweep(self, model: str) -> Sweep | None:
        """The sweep the first lines speak of: that of the first of its attacks on the undefended network, of those in the
        run's norm where there are any, else of what was made on surrogates; None without any."""
        attacks = sorted(self.attacks(model), key=lambda attack: self.norm_of(attack) != self.norm)
        sweeps = [self.undefended(model, attack, self.main_subset) for attack in attacks]
        sweeps += [self.sweep(model, "none", TRANSFER, attack, self.main_subset) for attack in attacks]
        return next((sweep for sweep in sweeps if sweep is not None and sweep.n), None)

    def envelope(self, sweep: Sweep, subset: str | None = None) -> Sweep:
        """The worst case up to each ε of a sweep's attack, for accuracy: what `worst_case` says of its rows."""
        key = (sweep.model, sweep.defense, sweep.attack)
        if key not in self._worst:  # both threat levels, the figures and the chart ask for the same one
            rows = self.records
            rows = rows[(rows["model"] == sweep.model) & (rows["defense"] == sweep.defense)]
            self._worst[key] = worst_case(rows[rows["attack"].isin([sweep.attack, "none"])])
        worst = self._worst[key]
        worst = worst[(worst["threat"] == sweep.threat) & worst["image"].isin(sweep.images)]
        return one_sweep(sweep.model, sweep.defense, sweep.threat, sweep.attack, worst).within(subset)

    def chance(self, sweep: Sweep) -> tuple[bool, bool]:
        """Whether the scores of a sweep's model hang on its noise, and whether its records then hold no draws apart for
        choosing: a worst case of them is too low."""
        rows = self.records
        rows = rows[(rows["model"] == sweep.model) & (rows["defense"] == sweep.defense)]
        noisy = shows_chance(rows)
        same = bool((rows["preliminary"] == rows["correct"]).all())
        certain = bool((rows["draws"] > 1).all() and rows["correct"].isin([0, 1]).all())
        return noisy, noisy and same and not certain

    def defenses(self, model: str) -> list[tuple[str, str]]:
        """(defense, threat) pairs recorded for `model`, undefended first, transfer before adaptive."""
        pairs = dict.fromkeys((d, t) for m, d, t, a in self.sweeps if m == model and a != "none")
        threats = {**dict.fromkeys(UNDEFENDED, 0), TRANSFER: 1, ADAPTIVE: 2}
        return sorted(pairs, key=lambda pair: (place(pair[0]), threats.get(pair[1], 3), pair[1]))

    def attacks(self, model: str) -> list[str]:
        """Attacks recorded for `model`: single steps first, then by name, and those that aim at a class last."""
        aims: dict[str, bool] = {}
        for (of, _, _, attack), sweep in self.sweeps.items():
            if of == model and attack != "none":
                aims[attack] = aims.get(attack, False) or sweep.targeted
        return sorted(aims, key=lambda name: (aims[name], self.manner(name) != SINGLE, name))

    def manner(self, attack: str) -> str:
        """What the attack of that label is (see Attack.manner), "" where that is not recorded."""
        return manner_of(attack, self.manifest.get("attacks"))

    def examples(self, model: str, figure: int | str) -> list[Example]:
        """The examples recorded for a figure of the paper, in order; empty when none were."""
        if model not in self._examples:  # every figure asks
            self._examples[model] = read_examples(self.folder / "examples", model)
        return [example for example in self._examples[model] if example.entry["figure"] == figure]

    def analysis(self, model: str) -> dict:
        """What was measured for C11 and C12, or {}."""
        path = self.folder / "analysis" / f"{model}.json"
        return read_json(path, StoredAnalysis) if path.exists() else {}

    def training(self, model: str) -> dict[str, pd.DataFrame]:
        """The training log of each defense of `model`, one row per epoch."""
        logs = {}
        for path in sorted((self.folder / "training").glob("*.csv")):
            name, defense = last_of(path.stem)
            if name == model:
                if (log := read_log(path)) is not None:
                    logs[defense] = log
        return dict(sorted(logs.items(), key=lambda item: item[0] != "none"))


def read_examples(folder: Path, model: str) -> list[Example]:
    """All examples of a model that have pictures, in order; [] where none were recorded.

    Raises:
        EscrimeError: For files that are damaged, and for pictures that do not belong to each other.
    """
    listing, arrays = folder / f"{model}.json", folder / f"{model}.npz"
    if not (listing.exists() and arrays.exists()):
        return []
    stored, found = load_arrays(arrays), []
    for entry in read_json(listing, StoredExamples):
        suffix = f"_{entry['index']}"
        images = {name.removesuffix(suffix): array for name, array in stored.items() if name.endswith(suffix)}
        shapes = {array.shape for name, array in images.items() if name != "slider"}
        frames = images.get("slider")
        if len(shapes) > 1 or any(len(shape) != 3 for shape in shapes) or (frames is not None and frames.ndim != 4):
            raise EscrimeError(f"{arrays}: the pictures of example {entry['index']} are of several shapes; {REBUILT}.")
        if frames is not None and len(frames) != len(entry.get("epsilons", ())):
            raise EscrimeError(f"{arrays}: example {entry['index']} has not one picture for each ε; {REBUILT}.")
        if images:
            found.append(Example(entry, images))
    return found


def read_run(folder: Path | str) -> Run:
    """Read a run folder.

    Raises:
        EscrimeError: When it is missing, has no manifest or no records, or when a row appears twice.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise EscrimeError(
            f"run folder {folder} does not exist; give the folder that `escrime run` wrote, such as runs/digits."
        )
    manifest = folder / "manifest.json"
    if not manifest.exists():
        raise EscrimeError(f"{folder} has no manifest.json, so it is not a run folder; give one that `escrime run` wrote.")
    check_inside(folder)
    known = read_json(manifest, StoredManifest)
    records = read_records(folder)
    if records.empty:
        raise EscrimeError(f"the records of {folder} are empty; delete {folder / 'records'} and run the experiment again.")
    if known.get("models") and (others := sorted(set(records["model"]) - set(known["models"]))):
        raise EscrimeError(
            f"the records of {folder} are of a model that its manifest.json does not know ({shortened(others)}); restore what "
            "was there, or run the experiment again in another folder."
        )
    return Run(folder, known, records, build_sweeps(records), deployed=read_deployed(folder))
