"""Which exit policies an export can hold."""

import dataclasses

from tfshrink.errors import UserError
from tfshrink.exit_spec import CONFIDENCES
from tfshrink.exit_spec import ExitSpec
from tfshrink.exit_spec import POLICY
from tfshrink.kv_spec import KVSpec


def exits_to_export(text, formats, candidate):
    """The policy of an export, checked before a model is loaded.

    Args:
        text: What `--exit` takes.
        formats: Names of `FORMATS`.
        candidate: `Candidate`, the model and its plans.

    Returns:
        `ExitSpec` that names its layers.

    Raises:
        UserError: Nothing that a LiteRT file can run, exits that the model
            does not have.
    """
    spec = ExitSpec.parse(text)
    if spec.head != "full":
        raise UserError(
            "`--exit` must have head=full to be exported. Received: "
            f"head={spec.head}"
        )
    if spec.missing != "lazy":
        raise UserError(
            "`--exit` must have missing=lazy to be exported, which gives the "
            "keys and values of a full computation. Received: "
            f"missing={spec.missing}"
        )
    if spec.confidence == POLICY:
        raise UserError(
            f"`--exit` must be of {', '.join(CONFIDENCES)} to be exported. "
            f"Received: {spec}, a learned policy"
        )
    if set(formats) != {"litert"}:
        raise UserError(
            "`--exit` needs --format=litert alone, whose stages stop between "
            f"exits. Received: {', '.join(formats)}"
        )
    for plan in candidate.plans:
        kv = KVSpec.from_json(plan.kv) if plan.kv else None
        if kv is not None and kv.codec != "identity":
            raise UserError(
                "`--exit` and `--kv` exclude each other in an export: its "
                "stages keep keys and values exact. "
                f"Received: {spec} and {kv}"
            )
    if candidate.exits is None:
        raise UserError(
            "`--exit` needs a --workdir of bin/train --style=early_exit, "
            f"whose model has exits. Received: {candidate.name}, which has none"
        )
    layers = spec.layers_of(candidate.exits.layers)
    if spec.confidence == "cosine" and layers != candidate.exits.layers:
        raise UserError(
            "`--exit` cosine must use all exits of the model here: it compares "
            f"the states of neighbours. Received: {spec}"
        )
    return dataclasses.replace(spec, layers=layers)
