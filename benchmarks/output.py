"""The result of a run as Markdown tables and as JSON."""

import json
import platform
from dataclasses import asdict

import torch

import escrime

from .contest import Result, Side
from .overhead import Overhead

# Width of the whole table: ratio first, then what it was bought with.
HEAD = (
    "| work | setting | ours is faster by | goal | rounds | fastest peer | passes per image, ours (forward + backward) | peer |"
)


def describe(device: torch.device) -> str:
    """The conditions that a ratio depends on, without naming the machine."""
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"
    return f"{where}, {torch.get_num_threads()} thread(s), torch {torch.__version__}, escrime {escrime.__version__}"


def markdown(results: list[Result], overheads: list[Overhead], device: torch.device) -> str:
    """The speed table, the accuracies behind it, and the overhead table."""
    lines = [
        f"Measured on {describe(device)}. Ratios are medians of interleaved rounds; the span of the rounds is beside them.",
        "",
    ]
    lines += [HEAD, "|---" * HEAD.count(" | ") + "|---|"]
    lines += [_row(result) for result in results]
    notes = [f"- {r.title}, {r.setting}: {note}." for r in results for note in r.notes]
    lines += ["", *notes]
    lines += ["", "Share of images still classified right, and for directed attacks called the target class:", ""]
    for result in results:
        if result.ratio is not None:
            lines += _accuracies(result)
    if overheads:
        lines += ["", *_overheads(overheads)]
    return "\n".join(lines) + "\n"


def as_json(results: list[Result], overheads: list[Overhead], device: torch.device) -> str:
    content = {
        "conditions": describe(device),
        "rows": [asdict(result) for result in results],
        "overhead": [asdict(overhead) for overhead in overheads],
    }
    return json.dumps(content, indent=1, ensure_ascii=False)


def _row(result: Result) -> str:
    goal = "–" if result.goal is None else f"≥ {result.goal:g}×"
    if result.ratio is None:
        return f"| {result.title} | {result.setting} | skipped: {result.skipped} | {goal} | | | | |"
    verdict = "" if result.goal is None else " ✓" if result.ratio >= result.goal else " ✗"
    span = f"{min(result.ratios):.2f}–{max(result.ratios):.2f}×, n = {len(result.ratios)}"
    return (
        f"| {result.title} | {result.setting}, {result.images} images | **{result.ratio:.2f}×**{verdict} | {goal} | {span} "
        f"| {result.peer.name} | {_passes(result.ours)} | {_passes(result.peer)} |"
    )


def _passes(side: Side) -> str:
    return f"{side.forwards:.1f} + {side.backwards:.1f}"


def _accuracies(result: Result) -> list[str]:
    head = " | ".join(f"{eps:.4g}" for eps in result.epsilons)
    lines = [f"{result.title}, {result.setting}", "", f"| ε | {head} |", "|---" * (len(result.epsilons) + 1) + "|"]
    directed = result.full is not None
    for side in filter(None, (result.ours, result.peer, result.full)):
        lines.append(f"| {side.name} | " + " | ".join(f"{100 * share:.1f}" for share in side.accuracy) + " |")
        if directed:
            lines.append(f"| {side.name}, at the target | " + " | ".join(f"{100 * share:.1f}" for share in side.reached) + " |")
    return [*lines, ""]


def _overheads(overheads: list[Overhead]) -> list[str]:
    shares = list(overheads[0].shares)
    lines = [
        "Time per forward-and-backward pass inside PGD over a bare prepared model's, and where the time of a PGD-40 run goes:",
        "",
        f"| setting | pass | goal | rounds | {' | '.join(shares)} |",
        "|---" * (4 + len(shares)) + "|",
    ]
    for one in overheads:
        verdict = "✓" if one.ratio <= one.goal else "✗"
        span = f"{min(one.ratios):.3f}–{max(one.ratios):.3f}"
        parts = " | ".join(f"{one.shares[name]:.1%}" for name in shares)
        lines.append(
            f"| {one.setting}, {one.images} images | **{one.ratio:.3f}** {verdict} | ≤ {one.goal:.2f} | {span} | {parts} |"
        )
    return lines
