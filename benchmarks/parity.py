"""Does escrime find what its peers find? FGSM image by image, FMN's median distance, AutoAttack's verdict.

    PEERS=peers python -m benchmarks.parity --data imagenette --folder DIR --resnet R.safetensors --settings resnet

FGSM must agree on every image, except where the logits are so close that rounding decides. FMN and AutoAttack are random or
differ in detail: their numbers stand side by side, and escrime's must not be the weaker ones. Exit code 1 if any check fails.
To install the peers:"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

import escrime

from .models import SETTINGS, Subject
from .options import listed, make_subject, parser, tell, weights
from .peers import INSTALL, available
from .rows import ROWS
from .work import Work

FGSM_EPSILONS = (1 / 255, 4 / 255, 8 / 255, 0.05, 0.1, 0.3)
BORDERLINE = 1e-4
SLACK = 1.05  # FMN: how much farther than foolbox's median ours may be
CHECKS = ("fgsm", "fmn", "autoattack")


@dataclass(frozen=True)
class Finding:
    """One comparison: what was compared, on which model, with which peer, what came out, and whether it is good enough."""

    check: str
    model: str
    peer: str
    fine: bool
    text: str


def fgsm(subject: Subject, name: str, peers: dict, options) -> list[Finding]:
    """Per image and ε: do both examples get the same class from the original model?"""
    work = Work(subject.model, subject.images, subject.labels, FGSM_EPSILONS, 1, options.target)
    ours, findings = ROWS["fgsm"].ours(work), []
    for peer in (peers[kind] for kind in ("torchattacks", "foolbox") if kind in peers):
        theirs, borderline, different = peer.fgsm(work), [], []
        for eps, mine, other in zip(FGSM_EPSILONS, ours, theirs, strict=True):
            (said, gap), (heard, other_gap) = _answers(subject, mine), _answers(subject, other)
            for i in (said != heard).nonzero().flatten().tolist():
                margin = min(float(gap[i]), float(other_gap[i]))
                entry = f"image {i} at ε = {eps:.4g}: class {int(said[i])} against {int(heard[i])}, margin {margin:.1e}"
                (borderline if margin < BORDERLINE else different).append(entry)
        count = len(subject.images) * len(FGSM_EPSILONS)
        text = f"{count - len(borderline) - len(different)} of {count} outcomes identical"
        text += _list("borderline", borderline) + _list("DIFFERENT", different)
        findings.append(Finding("FGSM", name, peer.name, not different, text))
    return findings


def fmn(subject: Subject, name: str, peers: dict, options) -> list[Finding]:
    """The median distance of the nearest examples, over the images where both sides found one."""
    if "foolbox" not in peers or not _has("FMN"):
        return []
    findings = []
    for norm in ("linf", "l2"):
        work = Work(subject.model, subject.images, subject.labels, (0.0,), options.steps, options.target)
        attack = escrime.FMN(norm=norm, steps=options.steps)
        mine = attack(subject.model, subject.images, subject.labels)
        other = peers["foolbox"].fmn(work, norm)
        (found, near), (found_too, near_too) = (_distances(subject, x, norm) for x in (mine, other))
        shared = found & found_too
        a, b = (float(d[shared].median()) if shared.any() else float("nan") for d in (near, near_too))
        text = (
            f"{norm}, {options.steps} steps: median {a:.5g} against {b:.5g} over the {int(shared.sum())} that both fooled; "
            f"fooled {int(found.sum())} against {int(found_too.sum())} of {len(found)}"
        )
        fine = int(found.sum()) >= int(found_too.sum()) and (not shared.any() or a <= SLACK * b)
        findings.append(Finding("FMN", name, "foolbox", fine, text))
    return findings


def autoattack(subject: Subject, name: str, peers: dict, options) -> list[Finding]:
    """The robust accuracy of both verdicts, and the images on which they differ."""
    if "pyautoattack" not in peers or not _has("AutoAttack"):
        return []
    eps = options.eps
    work = Work(subject.model, subject.images, subject.labels, (eps,), 1, options.target)
    mine = _answers(subject, ROWS["autoattack"].ours(work)[0])[0] == subject.labels
    other = _answers(subject, peers["pyautoattack"].autoattack(work)[0])[0] == subject.labels
    missed, extra = ((a & ~b).nonzero().flatten().tolist() for a, b in ((mine, other), (other, mine)))
    share = [f"{float(x.double().mean()):.1%}" for x in (mine, other)]
    text = f"ε = {eps:.4g}: robust accuracy {share[0]} against {share[1]} on {len(mine)} images"
    text += _list("stands for us alone: images", missed) + _list("falls for us alone: images", extra)
    return [Finding("AutoAttack", name, "pyautoattack", int(mine.sum()) <= int(other.sum()), text)]


@torch.no_grad()
def _answers(subject: Subject, images: Tensor) -> tuple[Tensor, Tensor]:
    """The class (N,) that the original model gives, and by which margin (N,) over the next one."""
    first, second = (top := subject.model(images).topk(2, dim=1)).values.unbind(1)
    return top.indices[:, 0], first - second


def _distances(subject: Subject, images: Tensor, norm: str) -> tuple[Tensor, Tensor]:
    """Which images (N,) are misclassified, and how far (N,) they are from the originals."""
    delta = (images.double() - subject.images.double()).flatten(1)
    return _answers(subject, images)[0] != subject.labels, delta.norm(p=float("inf") if norm == "linf" else 2, dim=1)


def _list(what: str, entries: list) -> str:
    return f"; {what} {', '.join(map(str, entries))}" if entries else ""


def _has(name: str) -> bool:
    try:
        return getattr(escrime, name) is not None
    except (AttributeError, ImportError):
        tell(f"{name} is skipped: escrime does not have it yet.")
        return False


def main() -> int:
    options = parser(__doc__ + INSTALL + ".")
    options.add_argument("--checks", type=listed(CHECKS), default=list(CHECKS), help=f"of {','.join(CHECKS)} (default: all)")
    options.add_argument("--steps", type=int, default=100, help="of FMN, on both sides (default: 100)")
    options = options.parse_args()
    peers, absent = available()
    for sentence in absent:
        tell(sentence)
    try:
        findings = compare(options, {peer.name: peer for peer in peers})
    except escrime.EscrimeError as error:
        tell(str(error))
        return 2
    table = ["| check | model | peer | | result |", "|---|---|---|---|---|"]
    table += [f"| {f.check} | {f.model} | {f.peer} | {'✓' if f.fine else '✗'} | {f.text} |" for f in findings]
    print(text := "\n".join(table) + "\n")
    if options.out:
        rows = [asdict(finding) for finding in findings]
        text = json.dumps(rows, indent=1, ensure_ascii=False) if options.out.endswith(".json") else text
        Path(options.out).write_text(text, "utf-8")
    return 0 if all(finding.fine for finding in findings) else 1


def compare(options, peers: dict) -> list[Finding]:
    """All checks on the undefended model of each setting, and on the hardened one where its weights are given."""
    checks = {"fgsm": fgsm, "fmn": fmn, "autoattack": autoattack}
    findings = []
    for setting in (SETTINGS[name] for name in options.settings):
        options.eps = setting.eps
        for hardened in (False, True):
            if hardened and weights(options, setting, hardened) is None:
                continue
            name = f"{setting.title}, {'adversarially trained' if hardened else 'undefended'}"
            subject = make_subject(options, setting, hardened)
            for check in options.checks:
                tell(f"{name}: {check} …")
                findings += checks[check](subject, name, peers, options)
    return findings


if __name__ == "__main__":
    sys.exit(main())
