"""A learned policy and tuned thresholds, on the same tokens at one price."""

import dataclasses

import numpy as np

from tfshrink.exit_policy import OF_STATES
from tfshrink.exit_spec import CONFIDENCES
from tfshrink.exit_spec import ExitSpec
from tfshrink.exit_spec import POLICY
from tfshrink.exits.choice import summary
from tfshrink.exits.ppo import train_policy
from tfshrink.exits.ppo_config import PPOConfig
from tfshrink.exits.sweep import priced

READS = {"states": OF_STATES, "all": CONFIDENCES}
COST_WEIGHTS = (0.05, 0.1, 0.2, 0.4, 0.8)  # policies are trained at
# Thresholds are tuned at these: what lies between two is a mixture of both.
CURVE = (0.0125, 0.025, *COST_WEIGHTS, 0.07, 0.14, 0.28, 0.56, 1.1, 1.6)
LEAVES = 0.5  # probability above which a judged policy lets go


def policy_files(folder):
    """Where trained policies go: `(reads, cost weight)` to path."""
    return {
        (name, weight): folder / f"exits_policy_{name}_{weight:g}.json"
        for name in READS
        for weight in COST_WEIGHTS
    }


def compare_policies(chosen, trace, cost, files, *, config=None, **options):
    """Trains policies by PPO and sets them beside tuned thresholds.

    Both maximise agreement minus cost weight x weights read, on the same
    tokens; both are judged on others, with the same costs. A policy that is
    judged is deterministic: it lets go where leaving is likelier than not.

    Args:
        chosen: `ExitTrace` to train and tune on.
        trace: `ExitTrace` to judge on.
        cost: `ExitCost`.
        files: Of `policy_files`, or some of it: what to train.
        config: `PPOConfig` of all else.
        **options: Of each `ExitSpec`.

    Returns:
        Dict: `thresholds` and `policies`, rows of `summary` with
        `cost_weight` and `reward`; of policies also `reads`,
        `thresholds_reward` (at the same cost weight), `thresholds_agreement`
        (at equal weights read) and `thresholds_weights` (at equal agreement),
        `None` where the thresholds do not reach so far; `config`.
    """
    config = config or PPOConfig()
    thresholds = []
    for weight in sorted({*CURVE, *(own for _, own in files)}):
        spec = priced(chosen, cost, 1.0 / weight, **options)
        thresholds.append(_judged(trace, spec, cost, weight))
    rewards = {row["cost_weight"]: row["reward"] for row in thresholds}
    policies = []
    for (name, weight), path in files.items():
        own = dataclasses.replace(config, reads=READS[name], cost_weight=weight)
        train_policy(chosen, cost, own).write(path)
        spec = ExitSpec(
            confidence=POLICY,
            thresholds=(LEAVES,),
            weights=str(path),
            **options,
        )
        row = _judged(trace, spec, cost, weight)
        policies.append(
            {
                "reads": name,
                **row,
                "thresholds_reward": rewards[weight],
                **beside(thresholds, row),
            }
        )
    return {
        "thresholds": thresholds,
        "policies": policies,
        "config": dataclasses.asdict(config),
    }


def _judged(trace, spec, cost, weight):
    row = summary(trace, spec, cost)
    reward = row["agreement"] - weight * row["weights_read"]
    return {"cost_weight": weight, "reward": reward, **row}


def beside(curve, row):
    """What a curve of policies reaches where a row lies.

    Between two neighbours of its front it is straight: choosing one of both
    by chance, token by token, gets there. Its end is the full model.

    Args:
        curve: List of dicts with `weights_read` and `agreement`.
        row: Such a dict.

    Returns:
        Dict: `thresholds_agreement` at the row's weights read and
        `thresholds_weights` at its agreement, `None` below the curve.
    """
    points = [(own["weights_read"], own["agreement"]) for own in curve]
    front, best = [], -1.0
    for read, agreement in sorted([*points, (1.0, 1.0)]):
        if agreement > best:
            front.append((read, agreement))
            best = agreement
    read, agreement = np.array(front).T
    found = {"thresholds_agreement": None, "thresholds_weights": None}
    if row["weights_read"] >= read[0]:
        own = np.interp(row["weights_read"], read, agreement)
        found["thresholds_agreement"] = float(own)
    if row["agreement"] >= agreement[0]:
        own = np.interp(row["agreement"], agreement, read)
        found["thresholds_weights"] = float(own)
    return found
