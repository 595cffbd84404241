"""Checks that hold for the config of every decoder."""

from tfshrink.errors import UserError
from tfshrink.plan_checks import MOST_LAYERS

_SIZES = ("vocabulary", "width", "layers", "heads", "kv_heads", "head_dim")
_SIZES += ("hidden", "context")


def checked_config(config, file):
    """Returns `config` once its sizes fit together.

    Args:
        config: A `DecoderConfig`.
        file: The file it came from, for the error.

    Raises:
        UserError: A size that is no positive integer, blocks without end,
            or heads that do not divide.
    """
    for size in _SIZES:
        value = getattr(config, size)
        if type(value) is not int or value < 1:
            raise UserError(
                f"{file}: `{size}` must be a positive integer. "
                f"Received: {value!r}"
            )
    encoders = config.encoder_layers
    if type(encoders) is not int or encoders < 0:
        raise UserError(
            f"{file}: `encoder_layers` must be an integer, at least 0. "
            f"Received: {encoders!r}"
        )
    if config.layers + encoders > MOST_LAYERS:
        raise UserError(
            f"{file}: there must be at most {MOST_LAYERS} blocks. "
            f"Received: {config.layers + encoders}"
        )
    if config.heads % config.kv_heads:
        raise UserError(
            f"{file}: the key/value heads must divide the {config.heads} "
            f"query heads. Received: {config.kv_heads}"
        )
    if config.positions == "rope" and config.head_dim % 2:
        raise UserError(
            f"{file}: the head dimension must be even for rotary positions. "
            f"Received: {config.head_dim}"
        )
    for token in (config.bos, *config.eos):
        if token is None:
            continue
        if type(token) is not int or not 0 <= token < config.vocabulary:
            raise UserError(
                f"{file}: start and stop tokens must be below the vocabulary "
                f"{config.vocabulary}. Received: {token!r}"
            )
    return config
