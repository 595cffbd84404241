"""Results of a subject by hand, for the tests of rules, tables and files."""

import copy

SPREAD = {
    "median": 40.0,
    "q25": 39.0,
    "q75": 41.0,
    "lowest": 38.0,
    "highest": 42.0,
}


def figure(value, low, high):
    """A figure of the robustness study."""
    return {"value": value, "interval": [low, high]}


def disturbed(kind, rise, *, excess=None, strength=0.05, **more):
    """A condition: what it costs a plan, as `(value, low, high)` in nats."""
    change = {
        "nats_rise": figure(*rise),
        "perplexity_ratio": figure(*(1 + x for x in rise)),
        "accuracy_drop": figure(0.1, 0.0, 0.2),
    }
    row = {
        "kind": kind,
        "strength": strength,
        "unit": "RMS",
        "perplexity": figure(15, 14, 16),
        "token_accuracy": figure(0.4, 0.3, 0.5),
        "against_clean": change,
        **more,
    }
    if excess is not None:
        row["excess"] = {"nats_rise": figure(*excess)}
    return row


def latency(p50=0.025, p99=0.03, speed=None):
    """What `token_latency` says of a plan."""
    return {
        "p50": p50,
        "p95": p50,
        "p99": p99,
        "samples": 320,
        "of_texts": {name: SPREAD for name in ("p50", "p95", "p99")},
        "first_token": SPREAD,
        "tokens_per_second": speed or SPREAD,
    }


def row(name, bits, size, ratio, **more):
    """A judged plan; its reference has 100 bytes and a perplexity of 10."""
    return {
        "name": name,
        "group": 64,
        "effective_bits": bits,
        "bytes": size,
        "compression": 100 / size,
        "perplexity": 10 * ratio,
        "perplexity_ratio": ratio,
        "token_accuracy": 0.4,
        "top5_accuracy": 0.7,
        "accuracy_per_bit": 40 / bits,
        "standard_error": 0.001,
        **more,
    }


def bits_row(*values, embedding=0.2, adapters=0.1, outer=8, **more):
    """The same with a bit map of one block."""
    own = row(*values, **more)
    groups = [("block_00/mlp_in", int(own["effective_bits"]))]
    groups.append(("embedding", outer))
    own["bit_map"] = {
        "groups": [
            {"name": name, "bits": bits, "weights": 5, "bytes": 5}
            for name, bits in groups
        ],
        "shares": {"embedding": embedding, "adapters": adapters},
        "weights_by_bits": {"8": 1.0},
    }
    own["plan"] = {"version": 1}
    return own


def timed_row(*values, head=0.1, speed=None, p99=0.03):
    """The same with times."""
    blocks = {"embedding": 0.01, "block_00": 1 - head, "head": head}
    return row(
        *values,
        evaluation=SPREAD,
        latency=latency(p99=p99, speed=speed),
        block_seconds=[
            {"name": name, **SPREAD, "median": seconds}
            for name, seconds in blocks.items()
        ],
        peak_memory={"host_mb": 900.0, "of_process": False},
    )


def subject(**changes):
    """A subject that no rule has anything to say about.

    Args:
        **changes: Parts that are other than these.
    """
    plain = {
        "name": "one",
        "kind": "export",
        "path": "exports/one",
        "model": "tiny",
        "identity": {"name": "tiny"},
        "performance": {
            "protocol": {"tokens": 35_000, "text": "abc", "describe": "text"},
            "timing": {"what": "simulation"},
            "reference": {
                "perplexity": 10.0,
                "bytes": 100,
                "standard_error": 0.01,
                "latency": latency(
                    speed={**SPREAD, "median": 20.0},
                ),
            },
            "plans": [timed_row("8", 8.0, 50, 1.001)],
        },
        "bits": {
            "plans": [bits_row("8", 8.0, 50, 1.001)],
            "mixed": [],
            "sensitivity": None,
            "budgets": [],
        },
        "robustness": None,
        "cycles": None,
        "notes": [],
        "seconds": {"performance": 1.0},
    }
    return copy.deepcopy({**plain, **changes})
