"""Small commands that are killed: their flags, and what comes out."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Job:
    """A command.

    Args:
        binary: Its name in bin/.
        arguments: Function of where it writes, and of whether it continues
            what is there, to its arguments.
        outcome: Function of the same place to what must be the same whatever
            happened before.
        resumable: Function of the place: whether there is something to
            continue.
    """

    binary: str
    arguments: Callable
    outcome: Callable
    resumable: Callable


def _train(place, resume):
    # What is there and cannot be resumed yet is begun anew.
    if resume:
        return (*TRAIN, f"--workdir={place}", "--resume")
    more = ["--overwrite"] if place.exists() and any(place.iterdir()) else []
    return (*TRAIN, f"--workdir={place}", *more)


def _trained(place):
    lines = (place / "metrics.jsonl").read_text().splitlines()
    keys = ("step", "tokens", "loss", "losses", "eval")
    metrics = [
        {key: own[key] for key in keys if key in own}
        for own in map(json.loads, lines)
    ]
    results = json.loads((place / "results.json").read_text())
    plans = [(p["name"], p["perplexity"]) for p in results["plans"]]
    names = ("config.json", "plan.json", "generated.jsonl")
    names += ("checkpoints/final.safetensors",)
    return metrics, plans, [(place / name).read_bytes() for name in names]


def _gen_data(place, resume):
    more = ["--resume"] if resume else []
    return (*GEN_DATA, f"--output={place}.jsonl", *more)


def _written(place):
    return Path(f"{place}.jsonl").read_bytes()


def _has_rows(place):
    files = (Path(f"{place}.jsonl"), Path(f"{place}.jsonl.partial"))
    return any(file.exists() and file.stat().st_size for file in files)


def _search(place, resume, method="greedy"):
    more = ["--resume"] if resume else []
    return (*SEARCH, f"--method={method}", f"--results_dir={place}", *more)


def _searched(place):
    results = json.loads((place / "results.json").read_text())
    return [
        {key: plan[key] for key in ("name", "plan", "bytes", "margin")}
        for plan in results["plans"]
    ]


def _counted(place):
    """Of a search that draws: how many plans it judged, each once."""
    rows = (place / "log.csv").read_text().splitlines()
    return len(rows), len(set(rows))


def _export(place, resume):
    return (*EXPORT, f"--out={place}", "--overwrite")


def _exported(place):
    names = ("model.tflite", "tokenizer.json")
    metadata = json.loads((place / "metadata.json").read_text())
    metadata.pop("environment")
    return metadata, [(place / name).read_bytes() for name in names]


def _configured(place):
    return (place / "config.json").exists()


TRAIN = (
    "--model=tiny",
    "--plan=8;4",
    "--group=32",
    "--ranks=2,2",
    "--total_steps=12",
    "--batch_size=2",
    "--context=16",
    "--dtype=float32",
    "--init=mse",
    "--bank=none",
    "--nouse_tensorboard",
    "--checkpoint_minutes=0",
    "--data=text.txt+generated",
    "--generated_rows=4",
    "--eval_data=text.txt",
)
GEN_DATA = (
    "--model=tiny",
    "--limit=24",
    "--batch_size=2",
    "--max_new_tokens=24",
)
SEARCH = (
    "--model=tiny",
    "--group=32",
    "--scales=rtn",
    "--prompts=4",
    "--tokens=32",
    "--data=text.txt",
    "--skip_sensitivity",
    "--bits=8,4,3",
    "--iterations=24",
    "--seeds=4",
)
EXPORT = ("--model=tiny", "--plan=4", "--group=32", "--data=text.txt")

JOBS = {
    "train": Job("train", _train, _trained, _configured),
    "gen_data": Job("gen_data", _gen_data, _written, _has_rows),
    "search": Job("search", _search, _searched, _configured),
    "search_pareto": Job(
        "search",
        lambda place, resume: _search(place, resume, "pareto"),
        _counted,
        _configured,
    ),
    "export": Job("export", _export, _exported, lambda place: False),
}
