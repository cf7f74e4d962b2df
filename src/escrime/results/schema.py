"""What each JSON file of a run folder may hold: types, ranges, and names that are safe as parts of a path.

Fields that a version of escrime did not write yet have defaults; what a later one adds is let through.
"""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, RootModel, model_validator

from ..no_class import NO_TARGET
from ..norms import NORMS
from .rows import SHARE, no_name
from .threats import WHITE_BOX

LARGEST = 1e12  # of a number that has no unit of its own


def _name(text: str) -> str:
    if text and (reason := no_name(text)):
        raise ValueError(f"the name {reason}")
    return text


def _norm(text: str) -> str:
    if text and text not in NORMS:
        raise ValueError(f"a norm is one of {', '.join(NORMS)}")
    return text


Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
Measured = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]  # NaN where nothing could be measured
Share = Annotated[float, Field(ge=SHARE[0], le=SHARE[1], allow_inf_nan=False)]
Eps = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Class = Annotated[int, Field(ge=0, le=2**31)]
Target = Annotated[int, Field(ge=NO_TARGET, le=2**31)]
Text = Annotated[str, Field(max_length=100_000)]
Name = Annotated[str, AfterValidator(_name)]  # "" for all of them
Norm = Annotated[str, AfterValidator(_norm)]
Figure = int | Text


class Stored(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, protected_namespaces=())


class StoredDataset(Stored):
    name: Text = ""
    classes: list[Text | int] = []
    train: Count = 0
    test: Count = 0
    subsets: dict[Text, Count] = {}
    size: Count | None = None
    fingerprint: Text | None = None
    train_fingerprint: Text | None = None
    left_out: dict[Text, Text] = {}


class StoredSurrogate(Stored):
    """How many of a few images a surrogate gets right."""

    model: Text
    right: Count
    of: Count


class StoredModel(Stored):
    arch: Text = ""
    parameters: Count | None = None
    stands_for: Text | None = None
    weights: Text | None = None
    answers: list[Annotated[list[float], Field(min_length=3, max_length=3)]] | None = None
    surrogates: list[StoredSurrogate] = []


class StoredHardware(Stored):
    cpu: Text | None = None
    cores: Count | None = None
    memory_gib: Number | None = None
    device: Text | None = None
    gpu: Text | None = None


class StoredMask(Stored):
    file: Text
    share: Share
    sha256: Text


class StoredExperiment(Stored):
    mask: StoredMask | None = None
    headline_eps: Eps | None = None
    threats: dict[Norm, list[Eps | Text]] = {}
    surrogates: dict[Text, Text | None] = {}  # specification → hash of its weights
    models: dict[Name, dict[str, Any]] = {}


class StoredStage(Stored):
    name: Text
    seconds: Seconds


class StoredManifest(Stored):
    """manifest.json."""

    name: Text | None = None
    kind: Text = "experiment"
    title: Text | None = None
    created: Text = ""
    command: Text | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)] | None = None
    escrime: Text | None = None
    versions: dict[Text, Text | None] = {}
    python: Text | None = None
    commit: Text | None = None
    hardware: StoredHardware = StoredHardware()
    dataset: StoredDataset = StoredDataset()
    models: dict[Name, StoredModel] = {}
    attacks: dict[Text, Text] = {}  # label → Attack.manner
    experiment: StoredExperiment = StoredExperiment()
    stages: list[StoredStage] = []


class StoredFinding(Stored):
    id: Annotated[str, Field(min_length=1, max_length=200)]
    severity: Text  # of findings.SEVERITIES
    message: Text
    evidence: dict[Text, Any] = {}
    remedy: Text = ""
    model: Name = ""
    defense: Name = ""
    threat: Text = ""
    answered: bool = False
    norm: Norm = ""
    exact: bool = False


class StoredFindings(RootModel[list[StoredFinding]]):
    """checks.json, and a file of checks/ of earlier versions."""


class StoredExamination(Stored):
    """A file of checks/."""

    images: Count
    effort: dict[Text, Count]
    parts: list[Annotated[Name, Field(min_length=1)]]
    findings: list[StoredFinding]
    stages: list[Text] = []
    cut: list[Text] = []


class StoredVerdict(Stored):
    """One of verdict.json; earlier versions wrote less."""

    sentence: Annotated[str, Field(min_length=1, max_length=100_000)]
    believe: bool
    model: Name = ""
    defense: Name = ""
    threat: Text = ""
    norm: Norm = ""
    subset: Text = ""
    eps: Eps = 0.0
    accuracy: Share = 0.0
    low: Share = 0.0
    high: Share = 0.0
    clean: Share = 0.0
    n: Count = 0


class StoredVerdicts(RootModel[Annotated[list[StoredVerdict], Field(min_length=1)]]):
    """verdict.json."""


class StoredPrediction(Stored):
    """What a network predicts for a picture."""

    prediction: Class
    confidence: Share


class StoredExample(Stored):
    """One item of a file of examples/."""

    figure: Figure
    index: Count
    image: Text
    label: Class
    attack: Text
    eps: Eps | None = None
    defense: Text = "none"
    threat: Text = WHITE_BOX
    target: Target = NO_TARGET
    original: StoredPrediction | None = None
    adversarial: StoredPrediction | None = None
    perturbation: StoredPrediction | None = None
    copy_: Annotated[StoredPrediction | None, Field(alias="copy")] = None
    verdict: StoredPrediction | None = None
    epsilons: list[Eps] = []
    predictions: list[Class] = []
    confidences: list[Share] = []

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.figure == "slider":
            if not len(self.epsilons) == len(self.predictions) == len(self.confidences) > 0:
                raise ValueError("epsilons, predictions and confidences are not of one length")
        elif self.eps is None or self.original is None or self.adversarial is None:
            raise ValueError("eps, original or adversarial is missing")
        return self


class StoredExamples(RootModel[list[StoredExample]]):
    """A file of examples/."""


class StoredMeasure(Stored):
    """C11 of a file of analysis/."""

    measure: Text
    value: Measured
    low: Measured
    high: Measured
    n: Count
    reference: Measured | None = None


class StoredMean(Stored):
    mean: Measured
    low: Measured | None = None
    high: Measured | None = None
    ratio: Measured | None = None
    ratio_low: Measured | None = None
    ratio_high: Measured | None = None
    p: Measured | None = None

    @model_validator(mode="after")
    def _interval(self) -> Self:
        if self.ratio is not None and (self.ratio_low is None or self.ratio_high is None):
            raise ValueError("a ratio without its interval")
        return self


Heights = dict[Name, list[list[Measured]]]


class StoredSurfaces(Stored):
    images: Annotated[Heights, Field(min_length=1)]
    weights: Heights
    axis: Annotated[list[Number], Field(min_length=2, max_length=1000)]
    n: Count

    @model_validator(mode="after")
    def _square(self) -> Self:
        side = len(self.axis)
        for kind in (self.images, self.weights):
            if kind.keys() != self.images.keys():
                raise ValueError("images and weights are not of the same networks")
            if any(len(rows) != side or any(len(row) != side for row in rows) for rows in kind.values()):
                raise ValueError(f"a surface has not {side} rows of {side} heights, as its axis has")
        return self


class StoredFlatness(Stored):
    """C12 of a file of analysis/."""

    n: Count
    eps: Eps = 0.0
    ascent: Number = 0.0
    random: Number = 0.0
    measures: dict[Text, dict[Name, StoredMean]] = {}
    surfaces: StoredSurfaces | None = None

    @model_validator(mode="after")
    def _measured(self) -> Self:
        for name in ("loss_rise", "weight_ascent") if self.surfaces is not None else ():
            if any(
                mean.low is None or mean.high is None for mean in self.measures.get(name, {"": StoredMean(mean=0.0)}).values()
            ):
                raise ValueError(f"surfaces without the measure {name} and its intervals")
        return self


class StoredAnalysis(Stored):
    """A file of analysis/."""

    C11: StoredMeasure | None = None
    C12: StoredFlatness | None = None


class StoredPoint(Stored):
    eps_max: Eps
    samples: Count


class StoredTuningRow(StoredPoint):
    defense: Name
    clean: Share
    clean_low: Share
    clean_high: Share
    transfer: Share
    transfer_low: Share
    transfer_high: Share
    adaptive: Share
    adaptive_low: Share
    adaptive_high: Share
    mean: Share
    front: bool
    best: bool
    chosen: bool


class StoredAttack(Stored):
    """attack.json."""

    settings: dict[Text, Any]


class StoredHalves(Stored):
    choosing: Count
    validating: Count


class StoredPasses(Stored):
    forwards: Number
    backwards: Number
    times_as_many_unshared: Number


class StoredGrid(Stored):
    eps: Eps
    against: Text


class StoredTuning(Stored):
    """tune.json; without a verdict, of a tuning that is not finished."""

    dataset: StoredDataset = StoredDataset()
    settings: dict[Text, Any] = {}
    identity: StoredModel = StoredModel()
    verdict: Text | None = None

    @model_validator(mode="after")
    def _finished(self) -> Self:
        if self.verdict is not None:
            StoredFinishedTuning.model_validate(self.model_dump(mode="python", by_alias=True))
        return self


class StoredFinishedTuning(Stored):
    settings: StoredGrid
    images: StoredHalves
    rows: list[StoredTuningRow]
    passes_per_image: StoredPasses
    seconds: dict[Text, Seconds]
    notes: list[Text]
    verdict: Text
