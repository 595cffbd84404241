"""What `diagnose` found, for people."""

import numpy as np

from tfshrink.evaluation.kv_heads import KINDS
from tfshrink.evaluation.table import print_table


def print_diagnosis(results):
    """Prints the tables of `diagnose`, and where its files lie.

    Args:
        results: Its dict.
    """
    basis, block = results["basis"], results["block"]
    rows = [
        {"figure": figure, "value": value}
        for figure, value in _figure_rows(results)
    ]
    print_table(rows, title=f"{basis}, {block} samples")
    if "summary" in results:
        _print_model(results)
    print(f"Files: {', '.join(results['files'])}")


def _figure_rows(results):
    """What is said of the basis, as pairs of strings."""
    figures, block = results["figures"], results["block"]
    bandwidth = results["bandwidth"]
    useful = max(1, int(2 * block * bandwidth))
    share = np.mean(figures["band_energy"][:useful])
    spread = np.multiply(
        figures["time_variance"], figures["frequency_variance"]
    )
    yield "orthonormality error", f"{figures['orthonormality_error']:.1e}"
    yield "condition number", f"{figures['condition_number']:.4g}"
    if "determined" in figures:
        samples = "condition number of the samples, "
        useful_one = figures["sampled_condition_useful"]
        yield f"{samples}first {useful}", f"{useful_one:.4g}"
        yield f"{samples}all", f"{figures['sampled_condition_all']:.2g}"
        yield "functions that samples determine", f"{figures['determined']}"
    yield "half bandwidth W, cycles per token", f"{bandwidth:.4g}"
    yield "time-bandwidth product n W", f"{figures['time_bandwidth']:.4g}"
    yield (
        "functions with 99 % of their energy in the band",
        f"{figures['inside']}",
    )
    yield f"energy in the band, first {useful} functions", f"{share:.1%}"
    yield "time variance x frequency variance, mean", f"{spread.mean():.3g}"
    yield "the same, least", f"{spread.min():.3g}"


def _print_model(results):
    """Two tables of a model: by kind, and by kind and basis."""
    kept, found = results["kept"], results["summary"]
    columns = {
        "kind": "mean over heads",
        "bandwidth_95": "W of 95 %",
        "bandwidth_99": "W of 99 %",
        "none": f"error of first {kept}",
        "lapped": "lapped",
        "even": "mirrored",
    }
    rows = [
        {"kind": KINDS[kind], **own, **own["left"]}
        for kind, own in found.items()
    ]
    columns = {key: text for key, text in columns.items() if key in rows[0]}
    formats = {key: ".1%" for key in ("none", "lapped", "even")}
    formats |= {key: ".3f" for key in ("bandwidth_95", "bandwidth_99")}
    title = f"{results['model']}, {results['basis']}"
    print_table(rows, columns, title=title, formats=formats)
    rows = [
        {
            "kind": KINDS[kind],
            "basis": basis,
            **figures,
            "picked": own["picked"].get(basis, 0),
            "picked_fixed": own["picked_fixed"].get(basis, 0),
        }
        for kind, own in found.items()
        for basis, figures in own["bases"].items()
    ]
    columns = {
        "kind": "mean over heads",
        "basis": "basis",
        "coding_gain": "gain, dB",
        "first": f"in first {kept}",
        "best": f"in best {kept}",
        "picked": "picked",
        "picked_fixed": "without pca",
    }
    formats = {"coding_gain": ".2f", "first": ".1%", "best": ".1%"}
    heads = max(own["heads"] for own in found.values())
    title = f"Energy along time, of {heads} heads"
    print_table(rows, columns, title=title, formats=formats)
    print(
        f"Text: {results['data']} ({results['split']}), "
        f"{results['tokens']:,} tokens in rows of {results['context']:,}.\n"
        "Channels have mean 0 and variance 1. pca is found on every other "
        "block,\nand all are measured on the rest."
    )
    if "rotated_keys" in found:
        print(
            "RoPE turns the mean of a channel into a wave: after it, the mean "
            "is energy too."
        )
