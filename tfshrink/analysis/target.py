"""What is analyzed: a finished run, a model or an export."""

import dataclasses
import json
import pathlib

from tfshrink.deploy.artefact import Artefact
from tfshrink.deploy.artefact import METADATA
from tfshrink.errors import UserError
from tfshrink.evaluation.candidate import model_candidates
from tfshrink.evaluation.candidate import run_candidates
from tfshrink.models.run import FINAL

PLANS = "8;4;2"  # of a model, when none is named
RUN, MODEL, EXPORT = "run", "model", "export"
# Where commands put folders: such a path is none on the hub.
ROOTS = ("out",), ("runs",), ("saved_models",)
# What only a folder of bin/train has: a Hugging Face folder has a config, too.
OF_RUNS = ("checkpoints", "metrics.jsonl", "tb", "plan.json")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """One thing to analyze, opened but not loaded.

    Args:
        name: Shown in tables.
        kind: `"run"`, `"model"` or `"export"`.
        path: What was typed; of a file of a run, its folder.
        candidates: List of `Candidate`, one a structure; an export's has no
            plans and is its reference.
        artefact: `Artefact` of an export, or `None`.
        format: Which of its formats is run, or `None`.
    """

    name: str
    kind: str
    path: str
    candidates: list
    artefact: object = None
    format: str | None = None

    @property
    def source(self):
        """`Source` of the full-precision reference."""
        return self.candidates[0].source

    @property
    def translates(self):
        """Whether it is an encoder-decoder, judged by its translations."""
        return bool(self.source.config.encoder_layers)


def open_target(path, *, plan=None, group=64, scales="mse", activations=None):
    """Finds out what a path or name is, and opens it.

    Args:
        path: Run folder, or its `checkpoints/final.safetensors`; folder of
            `bin/export`; what `--model` takes.
        plan: What `--plan` takes, several split by `;`. Default: the plans of
            a run, 8, 4 and 2 bits of a model; not for an export.
        group: Inputs per scale of a model's plans at 4 bits and below.
        scales: How the scales of a model are fitted.
        activations: 8 or 0 judges plans with inputs rounded to int8 or not;
            `None` as they were trained.

    Returns:
        `Target`.

    Raises:
        UserError: Nothing is there, or it is unfinished or damaged.
    """
    kind, path = _kind(path)
    if kind == EXPORT:
        return _export(path)
    if kind == RUN:
        found = run_candidates([path], plan, activations=activations)
    else:
        found = model_candidates(
            path,
            plan or PLANS,
            group=group,
            scales=scales,
            activations=activations or 0,
        )
    name = found[0].name if kind == RUN else pathlib.Path(path).name
    return Target(name=name, kind=kind, path=path, candidates=found)


def _kind(path):
    """What a path or name is, and the folder that is meant."""
    place = pathlib.Path(path)
    if place.is_dir():
        if (place / METADATA).is_file():
            return EXPORT, str(path)
        runs = any((place / name).exists() for name in OF_RUNS)
        return (RUN if runs or _is_config(place) else MODEL), str(path)
    if place.suffix == ".safetensors" and place.parent.name == "checkpoints":
        if place.name != FINAL:
            raise UserError(
                f"A checkpoint must be that of a finished run, {FINAL}. "
                f"Received: {path}"
            )
        return RUN, str(place.parent.parent)
    own = str(place.parent) != "." and place.parent.is_dir()
    if not place.exists() and (own or place.parts[:1] in ROOTS):
        raise UserError(  # before it is taken for a name on the hub
            "A run folder, an export or a model must be named. Received: "
            f"{path}, where nothing is"
        )
    return MODEL, str(path)


def _is_config(folder):
    """Whether the config in a folder is that of a run."""
    try:
        values = json.loads((folder / "config.json").read_text("utf-8"))
        return "precision" in values and "plans" in values
    except (OSError, TypeError, ValueError):
        return False


def _export(path):
    """The target of a folder of bin/export, with its reference."""
    from tfshrink.decoder_config import DecoderConfig

    format = _format(path)
    artefact = Artefact(path, format)
    metadata = artefact.metadata
    try:
        config = DecoderConfig.from_json(metadata["config"])
        (one,) = model_candidates(metadata["model"], "32")
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path}/{METADATA} must be that of bin/export. Received: "
            f"{type(error).__name__}: {error}"
        ) from error
    if one.source.config != config:
        raise UserError(
            f"An export must be of the model that it names, "
            f"{metadata['model']}, to be set beside it. Received: {path}, of "
            "another structure"
        )
    return Target(
        name=artefact.folder.name,
        kind=EXPORT,
        path=str(path),
        candidates=[dataclasses.replace(one, plans=[])],
        artefact=artefact,
        format=format,
    )


def _format(path):
    """The first of the formats that an export has."""
    try:
        text = (pathlib.Path(path) / METADATA).read_text("utf-8")
        return next(iter(json.loads(text)["formats"]))
    except (OSError, LookupError, TypeError, ValueError, StopIteration):
        return "litert"  # `Artefact` says what is wrong
