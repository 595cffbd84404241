"""What works on decoders of the GPT-2 and the Llama family alone."""

from tfshrink.errors import UserError

# What a `DecoderConfig` of these families has.
PLAIN = {
    "encoder_layers": (0,),
    "norm_first": (True,),
    "positions": ("learned", "rope"),
    "embedding_scale": (1.0,),
}


def check_plain_decoder(config, argument):
    """Raises a `UserError` unless a model is a decoder of these families.

    Exports, searches, K/V codecs and initialisation know their blocks, and
    would make something else of an encoder-decoder.

    Args:
        config: `DecoderConfig`.
        argument: Name of the argument that brought the model.
    """
    other = [
        f"{name}={getattr(config, name)}"
        for name, plain in PLAIN.items()
        if getattr(config, name) not in plain
    ]
    if other:
        raise UserError(
            f"`{argument}` must be of a decoder here, of the GPT-2 or the "
            "Llama family: without an encoder, norms first, positions learned "
            f"or rotary. Received: {config.name} with {', '.join(other)}"
        )
