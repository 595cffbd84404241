"""What `bin/diagnose exits` prints."""

from tfshrink.evaluation.table import print_table
from tfshrink.exits.report import exits_table

SHOWN = 16  # points of a front
EXITS = {
    "layer": "exit behind block",
    "agreement": "agreement",
    "nats": "nats a token",
    "last_nats": "of the full model",
}
CHANGES = {
    "parameter": "parameter",
    "value": "value",
    "agreement": "agreement",
    "agreement_change": "change",
    "weights_read": "weights read",
    "weights_change": "change",
    "exit_rate": "leave early",
    "layers": "layers",
}
BATCHES = {
    "size": "sequences",
    "layers": "blocks",
    "sorted_layers": "of sequences alike",
    "wanted": "what their tokens want",
}
BATCH_FORMATS = {"layers": ".2f", "sorted_layers": ".2f", "wanted": ".2f"}
LEARNED = {
    "reads": "reads",
    "cost_weight": "cost weight",
    "agreement": "agreement",
    "weights_read": "weights read",
    "thresholds_agreement": "thresholds' agreement, as much read",
    "thresholds_weights": "thresholds' weights read, as good",
    "reward": "reward",
    "thresholds_reward": "thresholds' reward",
}
FORMATS = {
    "agreement": ".1%",
    "agreement_change": "+.1%",
    "weights_read": ".3f",
    "weights_change": "+.3f",
    "exit_rate": ".1%",
    "layers": ".2f",
    "nats": ".3f",
    "last_nats": ".3f",
    "thresholds_agreement": ".1%",
    "thresholds_weights": ".3f",
    "reward": ".4f",
    "thresholds_reward": ".4f",
}


def print_study(study):
    """Prints what `diagnosis.study_exits` found, and where it lies."""
    print_table(study["exits"], EXITS, formats=FORMATS)
    front = sorted(
        (row for row in study["sweep"] if row["on_front"]),
        key=lambda row: row["weights_read"],
    )
    step = max(1, -(-len(front) // SHOWN))
    exits_table(
        front[::step], "Nothing reads less and agrees more (one threshold)"
    )
    exits_table(study["presets"], "Presets", {"preset": "preset"})
    _print_sensitivity(study)
    print_table(
        study["batches"],
        BATCHES,
        title="Blocks that a step of a batch runs",
        formats=BATCH_FORMATS,
    )
    if study["ppo"]:
        _print_policies(study["ppo"])
    chosen = [
        {"wanted": own["wanted"], **own["test"]} for own in study["suggestions"]
    ]
    exits_table(
        chosen,
        "Next: one threshold an exit, chosen on other prompts",
        {"wanted": "wanted"},
    )
    print("Files: " + ", ".join(study["files"]))


def _print_sensitivity(study):
    rows = study["sensitivity"]
    print_table(
        [{**rows[0], "value": None}, *rows[1:]],
        CHANGES,
        title=f"One change at a time: {study['followed']}",
        formats=FORMATS,
    )


def _print_policies(ppo):
    print_table(
        ppo["policies"],
        LEARNED,
        title="Learned by PPO, beside tuned thresholds (other prompts)",
        formats=FORMATS,
    )
    best = max(
        ppo["policies"],
        key=lambda row: row["reward"] - row["thresholds_reward"],
    )
    print(f"The most gained over thresholds: --exit={best['exit']}")
