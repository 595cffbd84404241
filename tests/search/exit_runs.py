"""A finished run of the tiny model with an exit, without its training."""

import json
import pathlib

import numpy as np

from tests.layers.layer_inputs import randomize
from tfshrink.layers.exit_config import ExitConfig
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.models.checkpoint import save_model
from tfshrink.models.load import fit_scales
from tfshrink.models.load import load_model
from tfshrink.plan import Plan

# A share of the tokens, some but not all, leaves by each.
SOME = "classifier:.4"
MOST = "classifier:.3:pending=99"


def write_run(folder, **options):
    """Writes a run folder whose exit says something of its own."""
    values = {"layers": (1,), "rank": 16, "candidates": 8, **options}
    exits = ExitConfig(**values)
    precision = PrecisionConfig(widths=(), ranks=(), bank="none", group=32)
    model = load_model("tiny", precision=precision, fit=False, exits=exits)
    fit_scales(model, (8, 4))
    for seed, head in enumerate(model.exit_heads):
        randomize(head, seed, size=0.2)
    if model.light_head is not None:
        states = np.random.default_rng(0).normal(size=(200, 64))
        model.light_head.fit(np.asarray(model.head_kernel()), states)
    folder = pathlib.Path(folder)
    (folder / "checkpoints").mkdir(parents=True)
    save_model(folder / "checkpoints" / "final.safetensors", model)
    config = {
        "model": "tiny",
        "precision": precision.to_json(),
        "plans": [Plan.parse("8", layers=2, group=32).to_json()],
        "exits": exits.to_json(),
    }
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)
