"""A decoder's config from the metadata of a GGUF file."""

import numpy as np

from tfshrink.decoder_config import DecoderConfig
from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError
from tfshrink.models.sources.config_checks import checked_config


def config_from_gguf(header, name, path, rope_factors=None):
    """Returns the `DecoderConfig` that a GGUF file describes.

    Args:
        header: The `GGUFHeader`.
        name: The config's name.
        path: The file, for errors.
        rope_factors: Values of the tensor `rope_freqs.weight`, if there.

    Raises:
        UserError: An architecture, or a feature of it, that is unknown.
    """
    values = _Values(header.metadata, path)
    families = {"llama": _llama, "gpt2": _gpt2}
    if values.architecture not in families:
        error = unknown_choice(
            "general.architecture", values.architecture, families
        )
        raise UserError(f"{path}: {error}")
    if "token_embd.weight" not in header.tensors:
        raise UserError(f"{path}: expected a tensor `token_embd.weight`")
    table = header.tensors["token_embd.weight"].shape
    common = {
        "name": name,
        "vocabulary": table[0],
        "width": values.integer("embedding_length"),
        "layers": values.integer("block_count"),
        "heads": values.integer("attention.head_count"),
        "hidden": values.integer("feed_forward_length"),
        "context": values.integer("context_length"),
        "tied": "output.weight" not in header.tensors,
        "bos": header.metadata.get("tokenizer.ggml.bos_token_id"),
        "eos": _stop_tokens(header.metadata),
    }
    last = f"blk.{common['layers'] - 1}.attn_norm.weight"
    if last not in header.tensors:
        raise UserError(f"{path}: expected a tensor `{last}`")
    family = families[values.architecture]
    config = DecoderConfig(
        **common, **family(values, common, header.tensors, rope_factors)
    )
    return checked_config(config, path)


class _Values:
    """Hyper-parameters under the prefix of the architecture."""

    def __init__(self, metadata, path):
        self.metadata = metadata
        self.path = path
        self.architecture = metadata.get("general.architecture")

    def get(self, key, default=None):
        """Returns the value of `<architecture>.<key>`."""
        return self.metadata.get(f"{self.architecture}.{key}", default)

    def integer(self, key, default=None):
        """Returns a positive integer that must be there."""
        value = self.get(key, default)
        if type(value) is not int or value < 1:
            raise UserError(
                f"{self.path}: `{self.architecture}.{key}` must be a "
                f"positive integer. Received: {value!r}"
            )
        return value

    def number(self, key, default=None):
        """Returns a positive float; the shortest that float32 rounds to."""
        value = self.get(key, default)
        if not isinstance(value, int | float) or not 0 < value < 1e30:
            raise UserError(
                f"{self.path}: `{self.architecture}.{key}` must be a "
                f"positive number. Received: {value!r}"
            )
        return float(str(np.float32(value)))


def _llama(values, common, tensors, rope_factors):
    if values.get("expert_count"):
        raise UserError(
            f"{values.path}: a dense model is expected. Received: a mixture "
            f"of {values.get('expert_count')} experts"
        )
    heads = common["heads"]
    head_dim = values.integer("attention.key_length", common["width"] // heads)
    rotated = values.get("rope.dimension_count", head_dim)
    if rotated != head_dim:
        raise UserError(
            f"{values.path}: `llama.rope.dimension_count` must equal the head "
            f"dimension {head_dim}. Received: {rotated}"
        )
    return {
        "kv_heads": values.integer("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "norm_epsilon": values.number("attention.layer_norm_rms_epsilon"),
        "rope_theta": values.number("rope.freq_base", 10000.0),
        "rope_scaling": _rope_scaling(values, head_dim, rope_factors),
        "attention_bias": "blk.0.attn_q.bias" in tensors,
        "attention_out_bias": "blk.0.attn_output.bias" in tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in tensors,
    }


def _gpt2(values, common, tensors, rope_factors):
    return {
        "kv_heads": common["heads"],
        "head_dim": common["width"] // common["heads"],
        "norm": "layer",
        "norm_epsilon": values.number("attention.layer_norm_epsilon"),
        "positions": "learned",
        "activation": "gelu_tanh",
        "gated": False,
        "attention_bias": True,
        "attention_out_bias": True,
        "mlp_bias": True,
    }


def _stop_tokens(metadata):
    keys = ("eos", "eot", "eom")
    tokens = [metadata.get(f"tokenizer.ggml.{k}_token_id") for k in keys]
    return tuple(dict.fromkeys(t for t in tokens if t is not None))


def _rope_scaling(values, head_dim, rope_factors):
    if rope_factors is not None:
        return _llama3_scaling(values, head_dim, rope_factors)
    kind = values.get("rope.scaling.type", "none")
    if kind == "none":
        factor = values.get("rope.scale_linear", 1.0)  # older files
    elif kind == "linear":
        factor = values.number("rope.scaling.factor")
    else:
        error = unknown_choice(
            "llama.rope.scaling.type", kind, ("none", "linear")
        )
        raise UserError(f"{values.path}: {error}")
    return None if factor == 1 else {"type": "linear", "factor": factor}


def _llama3_scaling(values, head_dim, rope_factors):
    """Finds the scaling whose factors a file stores as a tensor."""
    from tfshrink.ops import rotary  # brings Keras along

    scaling = {
        "type": "llama3",
        "factor": float(str(np.float32(rope_factors.max()))),
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_context": 8192,
    }
    theta = values.number("rope.freq_base", 10000.0)
    plain = rotary.frequencies(head_dim, theta)
    expected = plain / rotary.frequencies(head_dim, theta, scaling)
    if rope_factors.shape != expected.shape or not np.allclose(
        rope_factors, expected, rtol=1e-4
    ):
        raise UserError(
            f"{values.path}: `rope_freqs.weight` must hold the rotary factors "
            "of Llama 3 (low 1, high 4, original context 8192). Received: "
            "others"
        )
    return scaling
