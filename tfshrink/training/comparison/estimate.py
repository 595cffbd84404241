"""How long a comparison of training styles takes, before it begins."""

import dataclasses
import time

from tfshrink.evaluation.judged_text import JudgedText
from tfshrink.evaluation.protocol import Protocol
from tfshrink.evaluation.quality_meter import QualityMeter
from tfshrink.structure import plan_tensor


def estimate(suite):
    """Times a step and a batch of judging, and multiplies.

    A pass is a plan's share of a step of spnet, which trains all plans at once.
    Every judged run runs its plans and full precision over all windows.

    Args:
        suite: `StyleSuite`.

    Returns:
        Dict of `passes`, `judgements` (plans, full precision included),
        `windows` of each, `seconds_per_pass`, `seconds_per_window` and
        `seconds` of all. Initialisation, its text, compilation and exports
        are not in it.
    """
    from tfshrink.models.sources import open_source
    from tfshrink.training.report import Trial

    settings = dataclasses.replace(suite.base, style="spnet")
    trial = Trial.run(settings)
    plans = len(trial.plans)
    protocol = Protocol(
        data=suite.options["data"],
        limit=suite.options["limit"],
        context=suite.context,
        dtype=settings.dtype,
    )
    text = JudgedText.load(protocol, open_source(settings.model).tokenizer())
    batch = text.examples[: protocol.batch_size]
    bits = plan_tensor(trial.model.config, trial.plans[0])
    meter = QualityMeter(trial.model, batch, batch_size=protocol.batch_size)
    meter.measure(bits)  # compiles
    start = time.monotonic()
    meter.measure(bits)
    window = (time.monotonic() - start) / len(batch)
    seeds = len(suite.seeds)
    passes = seeds * sum(run.passes for run in suite.runs)
    judged = [len(run.plans) + 1 for run in suite.runs if run.plans]
    found = {
        "runs": seeds * len(suite.runs),
        "passes": passes,
        "judgements": seeds * sum(judged),
        "windows": len(text.examples),
        "seconds_per_pass": trial.seconds / plans,
        "seconds_per_window": window,
    }
    judging = found["judgements"] * found["windows"] * window
    found["seconds"] = passes * found["seconds_per_pass"] + judging
    return found


def print_estimate(suite):
    """Prints the runs of a comparison and how long they take."""
    for run in suite.runs:
        plans = (
            f"judged at {'; '.join(run.plans)}" if run.plans else "not judged"
        )
        print(f"  {run.name:<15}{run.passes:>4} passes, {plans}")
    found = estimate(suite)
    print(
        f"{found['runs']} runs over {len(suite.seeds)} seeds: "
        f"{found['passes']} passes of {found['seconds_per_pass']:.2f} s and "
        f"{found['judgements']} judgements of {found['windows']} windows, "
        f"{found['seconds_per_window']:.2f} s a window: "
        f"{found['seconds'] / 60:.0f} min."
    )
    print(
        "Beside that: one initialisation and its text a seed, compilation, and "
        "exports."
    )
