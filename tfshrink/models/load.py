"""From a source to a model: weights stream in, scales are fitted."""

import numpy as np

from tfshrink.errors import UserError
from tfshrink.layer_groups import ENCODER
from tfshrink.layer_groups import EXIT
from tfshrink.models.decoder import Decoder
from tfshrink.models.encoder_decoder import EncoderDecoder
from tfshrink.ops.quantize import WIDTHS


def load_model(
    source,
    *,
    precision=None,
    dtype="float32",
    remat=False,
    fit=True,
    exits=None,
):
    """Builds a decoder and streams the weights of a source into it.

    Args:
        source: A source, or the name of one (`open_source`).
        precision: `PrecisionConfig`, or `None` for a plain decoder.
        dtype: Compute type, `"float32"` or `"bfloat16"`; weights are held in
            float32.
        remat: Gradient checkpointing.
        fit: Whether to fit the scales; not needed where a checkpoint
            follows.
        exits: `ExitConfig`, or `None`; exits start untrained.

    Returns:
        A built `Decoder`, its scales fitted by squared error if `fit`.

    Raises:
        UserError: for a missing or misshapen weight.
    """
    if isinstance(source, str):
        from tfshrink.models.sources import open_source

        source = open_source(source)
    policy = "mixed_bfloat16" if dtype == "bfloat16" else dtype
    # Adapters start from a seed of their path: it must not count models.
    kind = EncoderDecoder if source.config.encoder_layers else Decoder
    model = kind(
        source.config, precision, remat, exits, dtype=policy, name="decoder"
    )
    model.build()
    load_weights(model, source)
    if precision is not None and fit:
        fit_scales(model)
    return model


def load_weights(model, source):
    """Assigns every weight of a source, one tensor at a time."""
    wanted = {_canonical(v.path): v for v in weight_variables(model)}
    missing = set(wanted)
    for name, value in source.weights():
        variable = wanted.get(name)
        if variable is None:
            raise UserError(f"`model` has a weight {name} this decoder lacks")
        if tuple(value.shape) != tuple(variable.shape):
            raise UserError(
                f"`model` weight {name} must have shape "
                f"{tuple(variable.shape)}. Received: {tuple(value.shape)}"
            )
        variable.assign(np.asarray(value, "float32"))
        # JAX copies in the background: wait, or tensors pile up.
        getattr(variable.value, "block_until_ready", lambda: None)()
        missing.discard(name)
    if missing:
        raise UserError(
            f"`model` lacks {len(missing)} weights, first {sorted(missing)[0]}"
        )


def weight_variables(model):
    """Variables that come from a checkpoint (no scales, adapters, exits)."""
    own = ("/quantizer/", "/adapters/", f"/{EXIT}")
    return [v for v in model.variables if not any(o in v.path for o in own)]


def _canonical(path):
    """Path of a variable below the model's own name."""
    parts = path.split("/")
    while parts[0] not in ("embedding", "positions", "final_norm", "head"):
        if parts[0].startswith(("block_", ENCODER)):
            break
        parts = parts[1:]
    return "/".join(parts)


def fit_scales(model, widths=WIDTHS, method="mse"):
    """Fits the scales (and banks) of every layer group by rounding."""
    for members in model.groups().values():
        for member in members:
            weight = getattr(member, "kernel", None)
            weight = member.table if weight is None else weight
            member.quantizer.fit(weight, widths, method=method)


def fit_missing(model, widths):
    """Fits, by squared error, the scales of widths that have none yet.

    Args:
        model: Built `Decoder` with a `PrecisionConfig`.
        widths: Bit-widths in use; those that are not quantized do not count.
    """
    for members in model.groups().values():
        for member in members:
            missing = [b for b in widths if not member.quantizer.is_fitted(b)]
            if missing:
                weight = getattr(member, "kernel", None)
                weight = member.table if weight is None else weight
                member.quantizer.fit(weight, missing)
