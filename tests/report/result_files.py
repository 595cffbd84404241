"""Small files of results as commands leave them, made by hand."""

import csv
import json

from tests.analysis import subjects
from tfshrink.analysis.results import build_analysis
from tfshrink.layer_groups import group_names
from tfshrink.plan import Plan

NAMES = group_names(2, True)
FORMULA = (
    "always(jsd <= 0.1) and always(attention >= 0.75) and "
    "always(factual >= 0.8)"
)
MARGINS = {"jsd": 0.05, "attention": 0.2, "factual": -0.1}
ENVIRONMENT = {
    "versions": {"python": "3.11.7", "tfshrink": "0.1.0"},
    "backend": "tensorflow",
    "device": "a CPU",
    "cores": 2,
    "system": "Linux x86_64",
}
CONFIG = {
    "model": "tiny",
    "settings": {
        "style": "spnet",
        "total_steps": 3,
        "batch_size": 4,
        "exits": "",
    },
    "plans": [{"name": "8"}, {"name": "4"}],
}
METRICS = [
    {
        "step": step,
        "loss": 1.0 / step,
        "losses": {"8": 0.5 / step, "4": 1.5 / step},
        "tokens": 100,
        "tokens_per_second": 50.0,
    }
    for step in (1, 2, 3)
]


def write(path, values):
    """Writes JSON and returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values), "utf-8")
    return path


def results(model="tiny", perplexity=20.0, names=("8", "4")):
    """A `results.json` of plans at 8 and 4 bits."""
    return {
        "model": model,
        "reference": {"perplexity": perplexity, "bytes": 2_000_000},
        "plans": [
            {
                "name": name,
                "plan": Plan.parse(name, layers=2, group=32).to_json(),
                "effective_bits": float(name),
                "bytes": 125_000 * int(name),
                "compression": 16 / int(name),
                "perplexity": perplexity * (1 + 1 / int(name)),
                "perplexity_ratio": 1 + 1 / int(name),
            }
            for name in names
        ],
        "environment": ENVIRONMENT,
        "command": "bin/evaluate --model=tiny",
        "seconds": 2.0,
        "protocol": {"describe": "pydoc (test): all of it", "text": "abc"},
    }


def run_folder(path, model="tiny"):
    """A run of bin/train that was judged."""
    write(path / "config.json", {**CONFIG, "model": model})
    lines = "".join(json.dumps(line) + "\n" for line in METRICS)
    (path / "metrics.jsonl").write_text(lines, "utf-8")
    write(path / "results.json", results(model))
    return path


def search_folder(path):
    """A search: two plans on the front, one that violates."""
    found = results()
    for plan, margin in zip(found["plans"], (0.1, 0.05), strict=True):
        plan["margin"] = margin
        plan["satisfied"] = True
        plan["satisfied_share"] = 1.0
        plan["worst"] = {**MARGINS, "factual": margin}
    found["search"] = {
        "feasible": True,
        "judged": 3,
        "objectives": ["bytes", "margin"],
        "method": "pareto",
        "requirement": {"formula": FORMULA},
        "prompts": 4,
        "relaxed": [{"relax": 0.0, "bytes": 500_000}],
    }
    write(path / "results.json", found)
    rows = [
        {"plan": "a", "bytes": 1e6, "margin": 0.1, "satisfied": True},
        {"plan": "b", "bytes": 5e5, "margin": 0.05, "satisfied": True},
        {"plan": "c", "bytes": 3e5, "margin": -0.2, "satisfied": False},
    ]
    with open(path / "log.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "effective_bits"])
        writer.writeheader()
        writer.writerows({**row, "effective_bits": 4.0} for row in rows)
    return path


def sensitivity():
    """A `sensitivity.json` of two widths."""
    return {
        "version": 1,
        "identity": {"model": {"name": "tiny"}},
        "names": NAMES,
        "correlation": 0.9,
        "rows": [
            {
                "group": name,
                "bits": bits,
                "pruning": 0.0,
                "sparsity": "unstructured",
                "kl": (place + 1) / bits,
                "margin": 0.1,
            }
            for place, name in enumerate(NAMES)
            for bits in (8, 4)
        ],
    }


def certificate():
    """A certificate of one plan on five prompts."""
    rates = {"violations": 1, "rate": 0.2, "bound": 0.6}
    properties = {
        name: {**rates, "worst_margin": own, "median_margin": own + 0.1}
        for name, own in {**MARGINS, "all": -0.1}.items()
    }
    worst = {
        "prompt": 3,
        "property": "factual",
        "margin": -0.1,
        "token": 1,
        "text": "at the end",
        "over_tokens": {
            "jsd": [0.1, 0.05, 0.08],
            "attention": [0.25, 0.2, 0.2],
            "factual": [0.2, -0.1, 0.1],
        },
    }
    return {
        "version": 1,
        "formula": FORMULA,
        "confidence": 0.95,
        "tests": 4,
        "bound": "Clopper-Pearson",
        "assumes": "independent prompts",
        "prompts": {"count": 5, "data": ["pydoc"]},
        "plans": [{"name": "4", "properties": properties, "worst": [worst]}],
        "model": {"name": "tiny"},
        "environment": ENVIRONMENT,
        "command": "bin/certify --plan=4",
    }


def policy(share=0.75):
    """What one exit policy reached."""
    return {
        "exit": f"margin:{share}",
        "agreement": 0.9 + share / 10,
        "exit_rate": share,
        "layers": 1.5,
        "weights_read": 1.0 - share / 2,
        "by_layer": {"1": share, "2": 1.0 - share},
        "by_position": [1.2, 1.8],
    }


def _exits():
    return {
        "model": {"name": "tiny"},
        "plan": {"name": "32"},
        "data": "pydoc",
        "new_tokens": 8,
        "dtype": "float32",
        "environment": ENVIRONMENT,
        "command": "bin/diagnose exits",
    }


def exit_study():
    """A study of `bin/diagnose exits` of a model with one exit."""
    return {
        **_exits(),
        "prompts": [5, 6],
        "sweep": [policy(0.25), policy(0.5), policy(0.75)],
        "suggestions": [{"wanted": 0.9, "test": policy(0.75)}],
        "presets": [{"preset": "toex", **policy(0.5)}],
        "ppo": None,
        "exits": [{"layer": 1}],
        "calibration": [
            [
                {"sure": 0.2, "right": 0.3, "tokens": 10},
                {"sure": 0.8, "right": 0.9, "tokens": 20},
            ]
        ],
    }


def exit_policies():
    """What `bin/evaluate --exit --json` writes."""
    full = {"tokens_per_second": 10.0, "layers": 2.0}
    return {**_exits(), "prompts": 6, "exits": [policy()], "full": full}


def exit_promise():
    """What `bin/certify --exit` writes."""
    proved = {
        "policy": "margin:0.5",
        "risk": 0.1,
        "level": 0.05,
        "measured": 0.06,
        "p_value": 0.04,
        "prompts": 300,
    }
    return {**_exits(), "certificate": proved, "summary": policy()}


def kv():
    """A suite of the exact cache and two codecs."""
    sizes = {"identity": 1.0, "int8": 2.0, "pca:4x": 4.0}
    return {
        "model": "tiny",
        "protocol": {"describe": "pydoc (test)"},
        "rows": [
            {
                "kv": name,
                "kv_bytes": 8_000_000 / smaller,
                "kv_compression": smaller,
                "perplexity_ratio": 1.0 + smaller / 100,
            }
            for name, smaller in sizes.items()
        ],
        "environment": ENVIRONMENT,
        "command": "bin/benchmark --suite=kv",
    }


def basis():
    """What `bin/diagnose dct` writes of two heads in two blocks."""
    return {
        "basis": "dct",
        "block": 16,
        "kept": 4,
        "model": "tiny",
        "figures": {"condition": 1.0},
        "summary": {"keys": {"best": 0.5, "bases": {"dct": {}}}},
        "rows": [
            {"kind": "keys", "layer": layer, "head": head, "best": 0.5}
            for layer in (0, 1)
            for head in (0, 1)
        ],
    }


def benchmark():
    """What a script of benchmarks/ writes."""
    return {
        "title": "A step",
        "rows": [
            {
                "side": side,
                "variant": "bfloat16",
                "tokens_per_second": speed,
                "seconds": [0.9, 1.1],
            }
            for side, speed in (("tfshrink", 50.0), ("PyTorch", 25.0))
        ],
        "environment": ENVIRONMENT,
    }


def analysis():
    """What bin/analyze writes of one subject."""
    clean = {"perplexity": subjects.figure(10, 9, 11)}
    clean["token_accuracy"] = subjects.figure(0.5, 0.4, 0.6)
    attacked = {
        "clean": clean,
        "conditions": [subjects.disturbed("fgsm", (0.2, 0.1, 0.3))],
    }
    own = subjects.subject(
        model="tiny",
        robustness={
            "reference": {"name": "full precision", **attacked},
            "plans": [{"name": "8", **attacked}],
            "random_precision": None,
        },
        insights=[
            {
                "rule": "little text",
                "text": "It stands on 10 tokens.",
                "next": "Take more.",
                "figures": {"tokens": 10},
            }
        ],
    )
    return {**build_analysis([own], [], 1.5), "command": "bin/analyze tiny"}


FILES = {
    "analysis.json": analysis,
    "sensitivity.json": sensitivity,
    "certificate.json": certificate,
    "study.json": exit_study,
    "policies.json": exit_policies,
    "promise.json": exit_promise,
    "kv.json": kv,
    "basis.json": basis,
    "benchmark.json": benchmark,
}


def everything(folder):
    """One place of each kind, two models; returns their paths."""
    places = [
        run_folder(folder / "first"),
        run_folder(folder / "second"),
        run_folder(folder / "other", model="else"),
        search_folder(folder / "search"),
    ]
    places += [write(folder / name, make()) for name, make in FILES.items()]
    return [str(place) for place in places]
