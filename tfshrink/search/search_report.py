"""What sensitivity and search print for people."""

import csv
import pathlib

from tfshrink.evaluation.table import print_table
from tfshrink.files import atomic_write
from tfshrink.search.columns import FRONT
from tfshrink.search.columns import VIOLATIONS
from tfshrink.search.findings import best_plan

MOST = 12  # rows of a printed table
COLUMNS = {
    "model": "model",
    **FRONT,
    "satisfied_share": "prompts",
    "latency": "ms",
    "f1": "F1",
}
FORMATS = {
    "bytes": lambda value: f"{value / 1e6:.1f}",
    "kv_bytes": lambda value: f"{value / 1e6:.1f}",
    "read_bytes": lambda value: f"{value / 1e6:.1f}",
    "layers": ".2f",
    "effective_bits": ".2f",
    "compression": lambda value: f"{value:.2f}x",
    "cost_ratio": lambda value: f"{value:.2f}x",
    "margin": "+.3f",
    "latency": lambda value: f"{1e3 * value:.2f}",
    "satisfied_share": ".0%",
    "perplexity_ratio": ".3f",
    "kl": ".2e",
    "estimate": ".2e",
}


def print_sensitivity(found, path, workdir=None):
    """Prints the groups that mind most, and where the file lies.

    Args:
        found: `Sensitivity`.
        path: Its file.
        workdir: The run it is of, or `None`.
    """
    rows = sorted(found.rows, key=lambda row: -row["kl"])[:MOST]
    keys = ("group", "bits", "pruning", "kl", "estimate", "perplexity")
    keys = [*keys, *(k for k in rows[0] if k.startswith("margin_"))]
    formats = {**FORMATS, **{k: "+.3f" for k in keys if "margin" in k}}
    title = f"Most sensitive of {len(found.rows)} changes"
    print_table(rows, keys, title=title, formats=formats)
    info = found.info
    if info["correlation"] is not None:
        print(
            "Rank correlation of the Fisher estimate with the measured "
            f"divergence: {info['correlation']:.3f}."
        )
    share = info["blocks_run"] / max(1, info["blocks_of_all"])
    print(
        f"{info['seconds']:.0f} s; {share:.0%} of the blocks were run, those "
        "behind each change."
    )
    print(f"Result: {path}, heat map: {path.with_suffix('.png')}")
    if workdir:
        print(f"Next: bin/search --workdir={workdir} --method=pareto")


def print_prediction(subject, predicted):
    """Prints what a search would be and take."""
    name = subject.workdir or subject.model
    print(
        f"Dry run of {name}: {predicted['variables']} variables, "
        f"{predicted['prompts']} prompts, {predicted['seconds_a_plan']:.2f} s "
        f"a plan.\nAbout {predicted['sensitivity_seconds']:.0f} s for the "
        f"sensitivity and {predicted['search_seconds']:.0f} s for the search. "
        "Nothing written."
    )


def print_search(results, folder, subject):
    """Prints the front of a search, and what to type next."""
    own = results["search"]
    rows = results["plans"]
    shown = rows
    if len(rows) > MOST:
        step = (len(rows) - 1) / (MOST - 1)
        shown = [rows[round(step * place)] for place in range(MOST)]
    title = f"{results['model']}: {len(rows)} plans on the front"
    print_table(shown, _columns(shown), title=title, formats=FORMATS)
    print(f"Requirement: {own['requirement']['formula']}.")
    print(
        f"{own['judged']} plans judged on {own['prompts']} prompts, "
        f"{results['seconds']:.0f} s. `smaller` and `cheaper` are against 16 "
        "bits, perplexity against full precision."
    )
    if any(row.get("kv") for row in rows):
        print(_about_cache(rows))
    if "exit" in own["variables"]:
        print(_about_exits(rows))
    relaxed = [
        f"{row['relax']:.0%}: {row['bytes'] / 1e6:.1f} MB"
        for row in own["relaxed"]
        if row["bytes"]
    ]
    if relaxed:
        print(f"Smallest if thresholds gave way by {', '.join(relaxed)}.")
    print(f"Results: {folder} (front.csv, plans/, front.png, log.csv)")
    if not own["feasible"]:
        print(
            "No plan satisfied the requirement on every prompt: these are the "
            "ones that violate it least."
        )
        return
    best = best_plan(results)
    target = f"--workdir={subject.workdir}"
    if not subject.workdir:
        target = f"--model={subject.model} --group={subject.group}"
    if best.kv:
        length = rows[0]["kv_length"]
        target += f" --tokens={subject.tokens} --kv_length={length}"
    print(f"Next: bin/certify {target} --plan={folder}/plans/{best.name}.json")


def _about_cache(rows):
    """One line: what bytes of a cache are of, and who sees it coded."""
    seen = max(row["kv_seen"] for row in rows)
    return (
        f"A K/V cache is of one sequence of {rows[0]['kv_length']:,} tokens. "
        f"Of the prompts' tokens {seen:.0%} see others coded: what stands in "
        "front of them says nothing of codecs."
    )


def _about_exits(rows):
    """One line: what depths and bytes a token are of."""
    cache = "what it looks up in its K/V cache" if rows[0].get("kv") else ""
    parts = "weights of the blocks it runs, exits it asks and head"
    return (
        "Layers: blocks that a token ran, in the mean of the prompts, measured "
        f"plan by plan. MB a token: {parts}{cache and ', and ' + cache}."
    )


def _about_depths(plan):
    """One line of a certificate: how many tokens left by a policy."""
    counts = plan["tokens_by_layer"]
    total = sum(counts.values())
    layers = sum(int(depth) * n for depth, n in counts.items()) / total
    early = 1.0 - list(counts.values())[-1] / total
    return (
        f"{early:.0%} of the prompts' tokens leave early by {plan['exit']}; "
        f"a token runs {layers:.2f} blocks in the mean."
    )


def _columns(rows):
    return {
        key: heading
        for key, heading in COLUMNS.items()
        if key != "model" and any(row.get(key) is not None for row in rows)
    }


def write_comparison(found, folder):
    """Prints and writes the fronts of several models, labelled.

    Args:
        found: List of `results.json` dicts.
        folder: Where `models.csv` goes.
    """
    rows = [
        {"model": results["model"], **row}
        for results in found
        for row in results["plans"]
    ]
    keys = list(COLUMNS)
    path = pathlib.Path(folder) / "models.csv"
    with atomic_write(path) as file:
        writer = csv.DictWriter(file, keys, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    best = [{"model": r["model"], **r["plans"][0]} for r in found if r["plans"]]
    title = "Cheapest of each front, each against its own full precision"
    columns = {"model": "model", **_columns(best)}
    print_table(best, columns, title=title, formats=FORMATS)
    print(f"All fronts: {path}")


def print_certificate(found, path, dry_run=False):
    """Prints rates and bounds of each plan, and its worst prompts.

    Args:
        found: Dict of `certificate`.
        path: Its file.
        dry_run: Whether nothing was written.
    """
    rows = [
        {"plan": plan["name"], "property": name, **own}
        for plan in found["plans"]
        for name, own in plan["properties"].items()
    ]
    prompts = found["prompts"]
    print_table(
        rows,
        VIOLATIONS,
        title=f"{prompts['count']} prompts of {', '.join(prompts['data'])} "
        f"({prompts['split']})",
        formats={
            "rate": ".1%",
            "bound": ".1%",
            "median_margin": "+.3f",
            "worst_margin": "+.3f",
        },
    )
    print(f"Requirement: {found['formula']}.")
    print(
        f"All bounds hold together with {found['confidence']:.0%} confidence "
        f"(Clopper-Pearson, corrected for {found['tests']} tests), for prompts "
        "that come from such text independently of each other."
    )
    for plan in found["plans"]:
        if "formula" in plan:
            print(f"{plan['name']}, seen from outside: {plan['formula']}.")
        if "kv" in plan:
            print(
                f"{plan['name']}: {plan['kv_seen']:.0%} of the prompts' tokens "
                f"see others coded by {plan['kv']}."
            )
        if "exit" in plan:
            print(f"{plan['name']}: {_about_depths(plan)}")
        for row in plan["worst"][:2]:
            text = " ".join(row["text"].split())
            print(f"{plan['name']}, prompt {row['prompt']}: {row['why']}")
            print(f"    ...{text}")
    print("Dry run: nothing written." if dry_run else f"Certificate: {path}")
