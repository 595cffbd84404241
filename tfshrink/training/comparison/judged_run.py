"""What is found of one finished run."""

from tfshrink.evaluation.results import read_results
from tfshrink.training.comparison.attacked import attacked
from tfshrink.training.comparison.attacked import attacked_ratio


def judged_run(folder, plans, *, attack, **protocol):
    """Judges plans of a run; what was found before is taken as it is.

    Args:
        folder: `Path` of the run folder. Figures are kept beside it.
        plans: As `--plan` takes them.
        attack: Whether they are attacked, too.
        **protocol: `data`, `limit`, `context` and `dtype` of `evaluate`.

    Returns:
        The dict of `evaluate`; with `attack` its reference and plans have
        `attacked` (`attacked_ratio`).
    """
    from tfshrink.evaluation.evaluate import evaluate

    path = folder.with_name(f"{folder.name}.json")
    if path.exists():
        found = read_results(path)
    else:
        found = evaluate(
            workdir=[str(folder)],
            plan=";".join(plans),
            json=str(path),
            **protocol,
        )
    if attack:
        path = folder.with_name(f"{folder.name}.attacked.json")
        own = attacked(folder, plans, protocol["data"], path)
        rows = [found["reference"], *found["plans"]]
        others = [own["reference"], *own["plans"]]
        for row, other in zip(rows, others, strict=True):
            row["attacked"] = attacked_ratio(other)
    return found
