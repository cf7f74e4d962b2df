"""What a finished run prints: a few accuracies with their intervals, and where the report lies."""

import pandas as pd
from rich.box import SIMPLE
from rich.table import Table

from ...budgets import same
from ...evaluation.subjects import as_cases
from ...report.formatting import fraction_text
from ...report.validity import VERDICT, read_verdicts
from ...results.records import in_subset, read_records, subset_names
from ...results.statistics import wilson
from .attack_sections import AttackSection
from .context import ExperimentRun


def show_outcome(run: ExperimentRun) -> None:
    """One row per model, defense and threat level: clean, the accuracy under each attack at the ε of its grid that is nearest
    to the headline of its norm, and how often one with a target reaches it at its largest ε."""
    records = read_records(run.folder.path)
    sections = run.experiment.attacks.by_label
    own = run.experiment.headlines
    shown = {label: _shown(section, own[section.geometry.name]) for label, section in sections.items()}
    model = next(iter(run.experiment.models))
    cases = [case.name[1:] for case in as_cases(run.subjects(model, untrained=True))]
    for subset in subset_names(records):
        for model in run.experiment.models:
            rows = in_subset(records, subset).query("model == @model")
            table = Table(title=f"{model}, {subset or 'test'} images", title_justify="left", box=SIMPLE, pad_edge=False)
            for heading in ("defense", "threat", "n"):
                table.add_column(heading)
            table.add_column("clean", justify="right")
            for label, (eps, _) in shown.items():
                table.add_column(f"{label} {fraction_text(eps, sections[label].geometry.name)}", justify="right")
            for key in cases:
                group = rows.query("defense == @key[0] and threat == @key[1]")
                if len(group):
                    n = group["image"].nunique()
                    rates = [_rate(_clean(group), "correct", n)]
                    for label, (eps, column) in shown.items():
                        rates.append(_rate(group[(group["attack"] == label) & same(group["eps"], eps)], column, n))
                    table.add_row(*key, str(n), *rates)
            run.display.say(table)
    right = ["clean", *(label for label, section in sections.items() if section.target is None)]
    legend = [f"{', '.join(right)}: % right [95 % Wilson interval]."]
    legend += [f"{label}: % called {s.target!r}, the target." for label, s in sections.items() if s.target is not None]
    run.display.say(f"{' '.join(legend)} Numbers after the attack are ε.")
    if (run.folder / VERDICT).exists():
        for verdict in read_verdicts(run.folder.path):
            run.display.say(("" if verdict["believe"] else "NOT AS IT STANDS: ") + verdict["sentence"])
    run.display.say(f"Report: {run.folder / 'report.html'}")


def _shown(section: AttackSection, headline: float) -> tuple[float, str]:
    """The ε at which an attack is shown, and the column that is its success."""
    if section.target is not None:
        return max(section.epsilons), "hit"
    return min((eps for eps in section.epsilons if eps > 0), key=lambda eps: abs(eps - headline), default=0.0), "correct"


def _clean(group: pd.DataFrame) -> pd.DataFrame:
    """The rows of the clean images, once each: of an attack that was run at ε = 0 too, or what an attack noted of them."""
    clean = group[group["eps"] == 0]
    if clean.empty:
        clean = group.assign(correct=(group["clean_prediction"] == group["label"]).astype(float))
    return clean.drop_duplicates("image")


def _rate(rows: pd.DataFrame, column: str, usual: int) -> str:
    """The mean in % with its interval, and n where it is not the row's usual one."""
    n = len(rows)
    if not n:
        return "–"
    low, high = (100 * end for end in wilson(rows[column].sum(), n))
    return f"{100 * rows[column].mean():.0f} [{low:.0f}–{high:.0f}]" + (f" n={n}" if n != usual else "")
