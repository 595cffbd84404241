"""A finished run, opened for evaluation, search or export."""

import dataclasses
import json
import pathlib

from tfshrink.errors import DAMAGE
from tfshrink.errors import UserError
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.models.checkpoint import load_model_state
from tfshrink.models.load import fit_missing
from tfshrink.models.load import load_model
from tfshrink.plan import Plan

FINAL = "final.safetensors"


@dataclasses.dataclass
class Run:
    """A run folder in memory.

    Args:
        model: `Decoder` with the trained scales, codes and adapters.
        source: Where its weights come from.
        config: Dict of `config.json`.
        plans: The plans it was trained on.
        name: Name of the folder.
    """

    model: object
    source: object
    config: dict
    plans: list
    name: str

    @property
    def tokenizer(self):
        """Tokenizer of the source."""
        return self.source.tokenizer()


def open_run(workdir, *, dtype="float32", widths=(), activations=None):
    """Loads the model of a finished run.

    Args:
        workdir: Run folder of `bin/train`.
        dtype: Compute type.
        widths: Bit-widths that will be used: one that nobody trained gets
            squared-error scales.
        activations: 8 rounds inputs to int8, 0 does not; `None` does as the
            run was trained.

    Returns:
        `Run`.

    Raises:
        UserError: the folder holds no finished run, or a damaged one.
    """
    from tfshrink.models.sources import open_source

    workdir = pathlib.Path(workdir)
    config, precision, plans = read_run(workdir)
    if precision.bank == "latent":
        precision = dataclasses.replace(precision, bank="codes")
    if activations is not None:
        precision = dataclasses.replace(precision, activations=activations)
    source = open_source(config["model"], workdir)
    model = load_model(
        source,
        precision=precision,
        dtype=dtype,
        fit=False,
        exits=config.get("exits"),
    )
    load_model_state(workdir / "checkpoints" / FINAL, model)
    fit_missing(model, widths)
    return Run(model, source, config, plans, workdir.name)


def read_run(workdir, checkpoint=FINAL):
    """What a run says of itself.

    Args:
        workdir: Run folder of `bin/train`.
        checkpoint: File in its checkpoints/ that it must have; the default
            is what a finished run has.

    Returns:
        `(config, precision, plans)`: its config.json, the `PrecisionConfig`
        and the trained plans in there.

    Raises:
        UserError: the folder holds no finished run.
    """
    workdir = pathlib.Path(workdir)
    path = workdir / "config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
        precision = PrecisionConfig.from_json(config["precision"])
        plans = [Plan.from_json(plan, str(path)) for plan in config["plans"]]
        _ = config["model"]
    except (OSError, *DAMAGE) as error:
        raise UserError(
            "`--workdir` must hold the config.json of a run. Received: "
            f"{workdir} ({error})"
        ) from error
    if not (workdir / "checkpoints" / checkpoint).exists():
        raise UserError(
            f"`--workdir` must hold a finished run (checkpoints/{checkpoint}); "
            f"--resume finishes one. Received: {workdir}"
        )
    return config, precision, plans
