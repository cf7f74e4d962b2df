"""What `escrime report --format json` prints, as a JSON Schema, so that a program can rely on it.

VERSION counts up when a field goes, or means something else; new fields may come at any time.
"""

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

from ..results.deployment import Paired
from ..results.findings import SEVERITIES, Finding
from ..results.verdicts import Verdict

VERSION = 1
SCHEMA = "report.schema.json"  # in docs/

Share = float | None  # a fraction of 1; null where nothing was measured


class Row(BaseModel):
    """A row of the document; its fields are told in `report.document`."""

    model_config = ConfigDict(extra="allow")


def _row_of(name: str, what: str, cls: type, /, **kinds: Any) -> type[Row]:
    """A row of what a dataclass holds: its fields, each of the type it has there, or of that in `kinds`, and those of its
    other `kinds`."""
    own = [field.name for field in fields(cls)]
    hints = get_type_hints(cls) | kinds
    needed: Any = {field: (hints[field], ...) for field in dict.fromkeys([*own, *kinds])}
    return create_model(name, __base__=Row, __doc__=what, **needed)


if TYPE_CHECKING:
    VerdictRow: TypeAlias = Row  # a class made by a call is no type to a type checker
    CheckRow: TypeAlias = Row
    DeploymentRow: TypeAlias = Row
else:
    VerdictRow = _row_of(
        "VerdictRow",
        "The sentence about one model, defense and norm, and the number that stands.",
        Verdict,
        **dict.fromkeys(("accuracy", "low", "high", "clean"), Share),
    )
    CheckRow = _row_of("CheckRow", "A finding of a validity check.", Finding, severity=Literal[tuple(SEVERITIES)])
    DeploymentRow = _row_of(
        "DeploymentRow",
        "A model and what is deployed in its place on the same n images: how many each gets right, and both.",
        Paired,
        **dict.fromkeys(("model", "deployed", "difference", "low", "high", "p"), Share),
        **dict.fromkeys(("name", "sentence"), str),
    )


class AttackedRow(Row):
    """A share of n images at one ε of one attack, with its 95 % interval."""

    model: str
    defense: str
    threat: str
    attack: str
    norm: str
    eps: float
    n: int
    low: Share
    high: Share


class AccuracyRow(AttackedRow):
    """The share that is right."""

    subset: str
    accuracy: Share


class HitRow(AttackedRow):
    """The share that a targeted attack made into its target."""

    target: str
    share: Share


class TestRow(Row):
    """A paired test of two rows on the images that both have."""

    first: list[str]
    second: list[str]
    eps: float
    n: int
    difference: Share
    low: Share
    high: Share
    gained: int
    lost: int
    p: Share
    p_holm: Share
    test: str
    verdict: str


class CorruptionRow(Row):
    """Mean errors over common corruptions and severities, of the n images that were seen under all of them."""

    subset: str
    model: str
    defense: str
    threat: str
    n: int
    corruptions: int
    severities: int


class ClaimRow(Row):
    """One of the paper's claims, and what was measured of it."""

    id: str
    model: str
    claim: str
    paper: str
    verdict: str
    why: str


class UnionRow(Row):
    """What is left of a model where the attacker may choose among several norms; rows: what each of them leaves."""

    model: str
    defense: str
    threat: str
    subset: str
    accuracy: Share
    low: Share
    high: Share
    n: int
    rows: list[dict[str, Any]]
    believe: bool
    sentence: str


class Document(Row):
    """One run. Shares are fractions of 1 with 95 % intervals from `low` to `high`; null where nothing was measured."""

    model_config = ConfigDict(extra="allow", title="escrime report")

    version: Literal[1] = Field(description="Of this schema.")
    manifest: dict[str, Any] = Field(description="How the run was made: command, seed, versions, hardware, data, models.")
    eps: float | None = Field(description="The headline ε.")
    verdicts: list[VerdictRow]
    unions: list[UnionRow] = Field(description="Of models judged in several norms: the worst of them for every image.")
    summary: list[AccuracyRow] = Field(description="Accuracy per subset, model, defense, threat, attack, norm and ε.")
    worst_case: list[AccuracyRow] = Field(description="The same over all attacks up to each ε.")
    hits: list[HitRow]
    tests: list[TestRow]
    corruptions: list[CorruptionRow] = Field(description="Mean and relative corruption error with intervals; else empty.")
    deployment: list[DeploymentRow] = Field(description="Of a model beside which a deployed one was judged; else empty.")
    claims: list[ClaimRow]
    checks: list[CheckRow]


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the document."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Document.model_json_schema()
