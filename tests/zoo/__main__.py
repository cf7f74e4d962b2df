"""`python -m tests.zoo [NAMES…]`: the zoo judged, one JSON line per member as soon as it is known, then a table."""

import argparse
import json
import os
import tempfile
from pathlib import Path

import torch

from .judge import BARS, judged
from .member import Kit
from .members import MEMBERS

SHARED = Path(__file__).resolve().parents[3] / "shared"
HEADINGS = [
    "model",
    "family",
    "kind",
    "n",
    "clean",
    "believed",
    "accuracy",
    "truth",
    "above",
    "alarms, warnings",
    "misses",
]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.zoo", description="Hold escrime's verdicts against what is true.")
    parser.add_argument("names", nargs="*", help="names of members or families; all without")
    parser.add_argument("--lines", type=Path, default=Path("zoo.jsonl"), help="finished members, which are not run again")
    parser.add_argument("--out", type=Path, help="write the table to this file")
    parser.add_argument("--photos", type=Path, help="an unpacked Imagenette; members on photos are left out without it")
    parser.add_argument("--skip-long", action="store_true", help="leave out members that take many minutes")
    return parser.parse_args()


def main() -> None:
    asked = parsed()
    torch.set_num_threads(1)
    cache = Path(os.environ.get("ESCRIME_NETWORKS") or Path(tempfile.gettempdir()) / "escrime-networks")
    cache.mkdir(exist_ok=True, parents=True)
    kit = Kit(cache, asked.photos, SHARED / "models")
    unknown = set(asked.names) - set(MEMBERS) - {member.family for member in MEMBERS.values()}
    if unknown:
        raise SystemExit(f"No member or family is called {', '.join(sorted(unknown))}; there are: {', '.join(MEMBERS)}.")
    lines = [json.loads(line) for line in asked.lines.read_text("utf-8").splitlines()] if asked.lines.exists() else []
    finished = {line["name"] for line in lines}
    chosen = [member for name in asked.names for member in MEMBERS.values() if name in (member.name, member.family)]
    for member in dict.fromkeys(chosen) if asked.names else MEMBERS.values():
        if member.name in finished or member.photos and not asked.photos or member.long and asked.skip_long:
            continue
        line = judged(member, kit)
        with asked.lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        lines.append(line)
        print(" | ".join(cells(line)), flush=True)
        print(f"    {line.get('sentence') or line['error']}", flush=True)
    text = table(lines)
    print("\n" + text)
    if asked.out:
        asked.out.write_text(text, "utf-8")


def cells(line: dict) -> list[str]:
    head, tail = [line["name"], line["family"], line["kind"]], [line["misses"] or "–"]
    if line["error"] is not None:
        return [*head, "–", "–", "–", "–", f"{line['truth']:.1%}", "–", line["error"][:60], *tail]
    shares = f"{line['accuracy']:.1%} [{line['low']:.1%}, {line['high']:.1%}]", f"{line['truth']:.1%}"
    middle = [str(line["n"]), f"{line['clean']:.1%}", "yes" if line["believe"] else "no", *shares]
    above = f"{100 * (line['accuracy'] - line['truth']):+.1f}"
    return [*head, *middle, above, ", ".join(line["alarms"] + line["warnings"]) or "none", *tail]


def table(lines: list[dict]) -> str:
    """Markdown: a row per member, then the four bars."""
    rows = [HEADINGS, ["---"] * len(HEADINGS), *map(cells, lines)]
    bars = []
    for bar, meaning in BARS.items():
        names = [line["name"] for line in lines if line["misses"] == bar]
        bars.append(f"- {meaning}: {len(names)}{' (' + ', '.join(names) + ')' if names else ''}")
    return "\n".join(["| " + " | ".join(row) + " |" for row in rows] + ["", *bars]) + "\n"


if __name__ == "__main__":
    main()
