"""How a style's plans stand an attack."""

import json

from tfshrink.files import write_json

WINDOWS = 16  # of 128 tokens


def attacked(workdir, plans, data, path):
    """Attacks plans of a run with FGSM, each at its own weakest point.

    Args:
        workdir: Run folder.
        plans: As `--plan` takes them.
        data: Text that is attacked.
        path: `Path` of the file that keeps what was found; what is there is
            taken as it is.

    Returns:
        The dict of `robustness_study`.
    """
    from tfshrink.analysis.robustness.settings import RobustnessSettings
    from tfshrink.analysis.robustness.study import robustness_study
    from tfshrink.evaluation.candidate import run_candidates

    if path.exists():
        return json.loads(path.read_text("utf-8"))
    (candidate,) = run_candidates([str(workdir)], ";".join(plans))
    settings = RobustnessSettings(
        attacks=("fgsm",),
        noises=(),
        random_precision="none",
        data=data,
        limit=WINDOWS,
    )
    found = robustness_study(candidate=candidate, settings=settings)
    write_json(path, found)
    return found


def attacked_ratio(row):
    """Perplexity under the attack, over the same plan's without it.

    Args:
        row: A plan's, or the reference's, of `robustness_study`.
    """
    (condition,) = row["conditions"]
    return condition["against_clean"]["perplexity_ratio"]["value"]
