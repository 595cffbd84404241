"""The results of a study as rows of a table."""

COLUMNS = {
    "plan": "plan",
    "condition": "condition",
    "strength": "strength",
    "perplexity": "perplexity",
    "ratio": "ratio to clean",
    "interval": "interval",
    "token_accuracy": "accuracy",
    "accuracy_drop": "drop",
    "excess": "nats over full precision",
}
FORMATS = {
    "perplexity": ".2f",
    "ratio": ".3f",
    "token_accuracy": ".1%",
    "accuracy_drop": ".1%",
    "excess": ".4f",
}
DEFENCE = "random precision"


def robustness_rows(results):
    """Rows for `evaluation.table`, with `COLUMNS` and `FORMATS`.

    Args:
        results: What `robustness_study` returns.

    Returns:
        List of dicts, one for each plan and condition, clean ones first.
        `interval` is of the ratio; `excess` is the rise of the nats per token
        less that of full precision.
    """
    rows = []
    for own in [results["reference"], *results["plans"]]:
        rows += _rows(own["name"], own)
    if results["random_precision"]:
        rows += _rows(DEFENCE, results["random_precision"])
    return rows


def _rows(name, found):
    clean = {
        "plan": name,
        "condition": "clean",
        **_levels(found["clean"]),
    }
    return [clean, *(_row(name, own) for own in found["conditions"])]


def _row(name, found):
    change = found["against_clean"]
    low, high = change["perplexity_ratio"]["interval"]
    excess = found.get("excess")
    return {
        "plan": name,
        "condition": _condition(found),
        "strength": found["strength"],
        **_levels(found),
        "ratio": change["perplexity_ratio"]["value"],
        "interval": f"{low:.3f}–{high:.3f}",
        "accuracy_drop": change["accuracy_drop"]["value"],
        "excess": excess and excess["nats_rise"]["value"],
    }


def _condition(found):
    """The kind, and against a defence whom the attacker aims at."""
    name = found["kind"].replace("_", " ")
    if "attacker" not in found:
        return name
    return f"{name} on {found['plan'] or 'all plans'}"


def _levels(found):
    return {
        name: found[name]["value"] for name in ("perplexity", "token_accuracy")
    }
