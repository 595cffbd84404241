"""The shape of a decoder, whatever family it comes from."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Everything that tells one decoder from another.

    The GPT-2 family is `norm="layer"`, `positions="learned"`,
    `activation="gelu_tanh"`, `gated=False` and biases everywhere; the Llama
    family is `norm="rms"`, `positions="rope"`, `activation="silu"`,
    `gated=True` and no biases. The original Transformer is GPT-2's with
    `positions="sinusoidal"`, `activation="relu"`, `embedding_scale` the root
    of the width, `encoder_layers` and, post-norm, `norm_first=False`.

    Args:
        vocabulary: Number of tokens V.
        width: Residual width C.
        layers: Number of blocks.
        heads: Query heads H.
        kv_heads: Key/value heads; fewer than `heads` is grouped-query
            attention.
        head_dim: Width D of one head.
        hidden: Inner width of the MLP.
        context: Longest sequence, in tokens.
        norm: `"layer"` or `"rms"`.
        norm_epsilon: Added to the variance.
        norm_first: Whether norms stand in front of attention and MLP, inside
            the residual, or behind the sum (post-norm).
        positions: `"learned"`, `"rope"` or `"sinusoidal"`.
        rope_theta: Base of the rotary frequencies.
        rope_scaling: `None`, or a dict with `type` `"linear"` (`factor`) or
            `"llama3"` (`factor`, `low_freq_factor`, `high_freq_factor`,
            `original_context`).
        activation: `"gelu_tanh"`, `"gelu"`, `"relu"` or `"silu"`.
        gated: Whether the MLP multiplies by a gate (SwiGLU).
        attention_bias: Biases on query, key and value.
        attention_out_bias: Bias on the attention output projection.
        mlp_bias: Biases in the MLP.
        embedding_scale: Factor of embedded tokens, positions aside.
        tied: Whether the head reuses the embedding table.
        encoder_layers: Blocks of an encoder whose states the decoder's blocks
            attend to; 0 is a decoder alone.
        bos: Start token, or `None`.
        eos: Tuple of stop tokens.
        name: Shown in tables and results.
    """

    vocabulary: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    context: int
    norm: str = "rms"
    norm_epsilon: float = 1e-5
    norm_first: bool = True
    positions: str = "rope"
    rope_theta: float = 10000.0
    rope_scaling: dict | None = None
    activation: str = "silu"
    gated: bool = True
    attention_bias: bool = False
    attention_out_bias: bool = False
    mlp_bias: bool = False
    embedding_scale: float = 1.0
    tied: bool = True
    encoder_layers: int = 0
    bos: int | None = None
    eos: tuple = ()
    name: str = "decoder"

    def to_json(self):
        """Returns a plain dict that `from_json` accepts."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values):
        """Builds a config from the dict of `to_json`."""
        return cls(**{**values, "eos": tuple(values.get("eos", ()))})
