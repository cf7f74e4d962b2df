"""What a finished run prints: a few accuracies with their intervals, and where the report lies."""

from rich.box import SIMPLE
from rich.table import Table

from ..evaluation.cases import as_cases
from ..evaluation.records import in_subset, read_records, subset_names
from ..evaluation.statistics import wilson
from ..report.validity import VERDICT, read_verdicts
from .run import Run


def show_outcome(run: Run) -> None:
    """One row per model, defense and threat level: clean, FGSM at the headline ε, and DGSM's success at its largest ε."""
    records = read_records(run.folder.path)
    fgsm, dgsm = run.experiment.headline, max(run.experiment.attacks.dgsm.epsilons)
    model = next(iter(run.experiment.models))
    cases = [case.name[1:] for case in as_cases(run.subjects(model, untrained=True))]
    for subset in subset_names(records):
        for model in run.experiment.models:
            rows = in_subset(records, subset).query("model == @model")
            table = Table(title=f"{model}, {subset or 'test'} images", title_justify="left", box=SIMPLE, pad_edge=False)
            for heading in ("defense", "threat", "n"):
                table.add_column(heading)
            for heading in ("clean", f"FGSM {fgsm:g}", f"DGSM {dgsm:g}"):
                table.add_column(heading, justify="right")
            for key in cases:
                group = rows.query("defense == @key[0] and threat == @key[1]")
                if len(group):
                    n = group["image"].nunique()
                    table.add_row(
                        *key,
                        str(n),
                        _rate(group.query("attack == 'FGSM' and eps == 0"), "correct", n),
                        _rate(group.query("attack == 'FGSM' and eps == @fgsm"), "correct", n),
                        _rate(group.query("attack == 'DGSM' and eps == @dgsm"), "hit", n),
                    )
            run.display.say(table)
    run.display.say(
        "clean, FGSM: % right [95 % Wilson interval]. DGSM: % called "
        f"{run.experiment.attacks.dgsm.target!r}, the target. Numbers after the attack are ε."
    )
    if (run.folder / VERDICT).exists():
        for verdict in read_verdicts(run.folder.path):
            run.display.say(("" if verdict["believe"] else "NOT AS IT STANDS: ") + verdict["sentence"])
    run.display.say(f"Report: {run.folder / 'report.html'}")


def _rate(rows, column: str, usual: int) -> str:
    """The mean in % with its interval, and n where it is not the row's usual one."""
    n = len(rows)
    if not n:
        return "–"
    low, high = (100 * end for end in wilson(rows[column].sum(), n))
    return f"{100 * rows[column].mean():.0f} [{low:.0f}–{high:.0f}]" + (f" n={n}" if n != usual else "")
