"""Rules about times, and how far figures can be trusted."""

from tfshrink.analysis.insights.figures import figure
from tfshrink.analysis.insights.figures import having
from tfshrink.analysis.insights.figures import place
from tfshrink.analysis.insights.figures import timed_rows
from tfshrink.analysis.insights.figures import typed

FASTER = 1.1  # times full precision's speed
TAIL = 2.0  # times the median latency
NOISE = 0.1  # of the median, between the quartiles
HEAD = 0.3  # share of a forward pass
TOKENS = 32_000  # that a perplexity should stand on


def simulation_saves_no_time(subject):
    """Bits are bytes in a simulation; time is saved by what ships."""
    if figure(subject, "performance", "timing", "what") != "simulation":
        return None
    path = "latency", "tokens_per_second", "median"
    whole = figure(subject, "performance", "reference", *path)
    speeds = [(figure(row, *path), row) for row in timed_rows(subject)]
    speeds = [pair for pair in speeds if pair[0]]
    if not whole or not speeds:
        return None
    fastest, row = max(speeds, key=lambda pair: pair[0])
    if fastest > FASTER * whole:
        return None
    return {
        "text": "Simulated, no plan generates faster than full precision: "
        f"{fastest:.1f} tokens/s ({row['name']}) for {whole:.1f}.",
        "next": "Measure what ships: bin/export "
        f"{place(subject)} --plan={typed(subject, row)}, then bin/analyze it.",
        "figures": {
            "plan": row["name"],
            "tokens_per_second": fastest,
            "full_precision": whole,
        },
    }


def long_tail(subject):
    """Some tokens that take much longer than most."""
    for row in having(timed_rows(subject), "latency"):
        p50, p99 = row["latency"]["p50"], row["latency"]["p99"]
        if p99 > TAIL * p50:
            return {
                "text": f"One token in a hundred of {row['name']} takes over "
                f"{1e3 * p99:.3g} ms, half of them under {1e3 * p50:.3g} ms.",
                "next": "Measure again on an idle machine, with more --repeats "
                "and --new_tokens, before a promise rests on it.",
                "figures": {
                    "plan": row["name"],
                    "p50": p50,
                    "p99": p99,
                    "samples": row["latency"]["samples"],
                },
            }
    return None


def noisy_times(subject):
    """Speeds that scatter more than what they are to tell apart."""
    for row in timed_rows(subject):
        own = figure(row, "latency", "tokens_per_second")
        if (
            own
            and own.get("q25")
            and own["q75"] - own["q25"] > (NOISE * own["median"])
        ):
            return {
                "text": f"Half of the speeds of {row['name']} scatter from "
                f"{own['q25']:.1f} to {own['q75']:.1f} tokens/s.",
                "next": "Take no smaller difference for one: measure again on "
                "an idle machine, with more --repeats.",
                "figures": {"plan": row["name"], **own},
            }
    return None


def head_takes_long(subject):
    """A head that takes much of a forward pass."""
    for row in having(timed_rows(subject), "block_seconds"):
        own = {part["name"]: part["median"] for part in row["block_seconds"]}
        share = own.get("head", 0.0) / (sum(own.values()) or 1.0)
        if share >= HEAD:
            return {
                "text": f"The head takes {share:.0%} of a forward pass of "
                f"{row['name']}, {1e3 * own['head']:.1f} ms.",
                "next": "Give it fewer bits (--plan=4:embedding=4) and measure "
                "the export.",
                "figures": {
                    "plan": row["name"],
                    "head_share": share,
                    "head_seconds": own["head"],
                },
            }
    return None


def too_little_text(subject):
    """Figures of a text too short to trust."""
    tokens = figure(subject, "performance", "protocol", "tokens")
    error = figure(subject, "performance", "reference", "standard_error")
    if tokens is None or error is None or tokens >= TOKENS:
        return None
    return {
        "text": f"Perplexities stand on {tokens:,} tokens: their standard "
        f"error is about {error:.1%}.",
        "next": f"Judge on {TOKENS:,} or more before choosing: leave out "
        "--limit, or name a longer --data.",
        "figures": {"tokens": tokens, "standard_error": error},
    }
