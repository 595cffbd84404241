"""Plans, run folders and results."""

import json

from tests.reliability.shared_files import all_of
from tests.reliability.shared_files import model
from tests.reliability.shared_files import plan
from tfshrink.errors import UserError


def make_plan(folder):
    plan().save(folder / "plan.json")


def read_plan(folder):
    from tfshrink.plan import Plan

    plan = Plan.load(folder / "plan.json")
    _ = plan.hash, plan.layer_precision(), plan.as_dict()
    Plan.from_json(plan.to_json())
    Plan.parse(str(folder / "plan.json"), layers=2)


def make_run(folder):
    from tfshrink.layers.precision_config import PrecisionConfig
    from tfshrink.training.settings import TrainSettings

    values = {
        "model": "tiny",
        "settings": TrainSettings(model="tiny").to_json(),
        "precision": PrecisionConfig(widths=(8, 4), ranks=(2, 4)).to_json(),
        "plans": [plan().to_json()],
        "exits": {"layers": [1], "blocks": 0, "rank": 4},
        "identity": {"name": "tiny"},
    }
    (folder / "config.json").write_text(json.dumps(values))
    lines = [{"step": step, "loss": 1.0} for step in (1, 2, 3)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text)
    (folder / "range_test.json").write_text('{"low": 3, "bits": {"3": 1.0}}')
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints/final.safetensors").touch()


def read_run_folder(folder):
    from tfshrink.models.run import read_run
    from tfshrink.run_folder import RunFolder
    from tfshrink.training.train import stored_settings

    all_of(
        lambda: read_run(folder),
        lambda: RunFolder(folder, resume=True).metrics(),
        lambda: RunFolder(folder, resume=True).forget_after(2),
        lambda: stored_settings(RunFolder(folder, resume=True)),
    )


def make_open_run(folder):
    from tfshrink.models.checkpoint import save_model

    made = model()
    values = {
        "model": "tiny",
        "settings": {},
        "precision": made.precision.to_json(),
        "plans": [plan().to_json()],
        "exits": None,
        "identity": {"name": "tiny"},
    }
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "checkpoints").mkdir()
    save_model(folder / "checkpoints/final.safetensors", made)


def read_open_run(folder):
    from tfshrink.models.run import open_run

    open_run(folder, widths=(3,))


def make_results(folder):
    row = {
        "name": "4",
        "plan": plan().to_json(),
        "effective_bits": 4.0,
        "bytes": 1000,
        "perplexity": 9.0,
        "margin": 0.1,
        "satisfied_share": 1.0,
        "exit": None,
    }
    values = {
        "model": "tiny",
        "reference": {"perplexity": 8.0, "bytes": 4000},
        "plans": [row, {**row, "name": "8"}],
        "environment": {"cpu": "x"},
        "command": "bin/search",
        "seconds": 3.5,
    }
    (folder / "results.json").write_text(json.dumps(values))
    values["search"] = {
        "requirement": {"formula": "a >= 1"},
        "judged": 4,
        "prompts": 2,
        "method": "pareto",
        "feasible": False,
    }
    (folder / "search.json").write_text(json.dumps(values))
    worst = {"prompt": 1, "property": "a", "token": 3, "margin": -0.1}
    own = {"violations": 1, "rate": 0.1, "bound": 0.2, "median_margin": 0.1}
    certificate = {
        "formula": "a >= 1",
        "prompts": {"count": 10, "data": ["pydoc"]},
        "confidence": 0.95,
        "bound": "Clopper-Pearson",
        "tests": 1,
        "assumes": "independence",
        "plans": [
            {
                "name": "4",
                "properties": {"a": {**own, "worst_margin": -0.1}},
                "worst": [{**worst, "text": "x"}],
            }
        ],
    }
    (folder / "certificate.json").write_text(json.dumps(certificate))
    _sensitivity().save(folder / "sensitivity.json")


def _sensitivity():
    from tfshrink.search.sensitivity import Sensitivity

    row = {"group": "block_00/mlp_in", "bits": 4, "pruning": 0.0}
    rows = [
        {**row, "sparsity": "unstructured", "kl": 0.1, "margin": 0.2},
        {**row, "sparsity": "unstructured", "kl": 0.2, "bits": 3},
    ]
    names = ("block_00/mlp_in", "embedding")
    identity = {"model": {"name": "tiny"}, "run": None}
    return Sensitivity(rows, names, identity, {"correlation": 0.9})


def read_all_results(folder):
    from tfshrink.evaluation.results import read_results
    from tfshrink.search.sensitivity import Sensitivity

    page = folder.parent / "page.html"
    all_of(
        lambda: read_results(folder),
        lambda: Sensitivity.load(folder / "sensitivity.json"),
        lambda: _reported([folder, folder / "search.json"], page),
    )


def _reported(places, page):
    """Writes a page of them, and refuses what the page leaves out."""
    from tfshrink.report.report import report

    _, problems = report(places, page)
    if problems:
        raise UserError(problems[0])
