"""A run that translates, as a folder, without its training."""

import json
import pathlib

import numpy as np

from tests.models import translators
from tfshrink.data.subwords import as_transformers
from tfshrink.data.subwords import save_subwords
from tfshrink.data.subwords import train_subwords
from tfshrink.evaluation.candidate import Candidate
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.models.checkpoint import save_tensors
from tfshrink.models.run import FINAL
from tfshrink.models.sources.source import Source
from tfshrink.plan import parse_plans

PAIRS = [
    ("one two", "unu doi"),
    ("red", "roșu"),
    ("three", "trei"),
    ("two red", "doi roșu"),
]
LONG = ("red " * 40, "roșu")  # more tokens than the model can read
PRECISION = PrecisionConfig(widths=(), ranks=(), bank="none", group=0)


class RunSource(Source):
    """What `open_source` would make of the run."""

    name = "translator"
    identity = {"name": "translator", "revision": "test"}

    def __init__(self, subwords, config):
        self.subwords = subwords
        self.own = config

    @property
    def config(self):
        return self.own

    def weights(self):
        raise NotImplementedError

    def tokenizer(self):
        return as_transformers(self.subwords, context=self.own.context)


def write_pairs(path, pairs):
    """A TSV file."""
    text = "".join(f"{source}\t{target}\n" for source, target in pairs)
    pathlib.Path(path).write_text(text, encoding="utf-8")
    return str(path)


def write_run(folder, *, data, exits=(), plans="32"):
    """Writes a folder; returns its `Candidate`.

    Args:
        folder: Path.
        data: What the run was trained on.
        exits: Blocks of the decoder with an exit behind them.
        plans: As `parse_plans` takes them.
    """
    folder = pathlib.Path(folder)
    texts = [text for pair in PAIRS for text in pair]
    subwords = train_subwords(texts, vocabulary_size=270)
    model = translators.model(
        exits=exits, vocabulary=subwords.get_vocab_size(), precision=PRECISION
    )
    plans = parse_plans(plans, layers=2, tied=True, group=0)
    save_subwords(subwords, folder / "tokenizer.json")
    save_tensors(folder / "checkpoints" / FINAL, {"none": np.zeros(1)})
    config = {
        "model": "translator",
        "precision": PRECISION.to_json(),
        "plans": [plan.to_json() for plan in plans],
        "settings": {"data": data, "eval_data": "pydoc"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return Candidate(
        name=folder.name,
        source=RunSource(subwords, model.config),
        plans=plans,
        precision=PRECISION,
        load=lambda dtype: model,
        model="translator",
        workdir=str(folder),
    )
