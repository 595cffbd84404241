"""A decoder's config from the `config.json` of Hugging Face."""

from tfshrink.decoder_config import DecoderConfig
from tfshrink.errors import DAMAGE
from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError
from tfshrink.models.sources.config_checks import checked_config

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_fast": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}


def config_from_huggingface(values, name, file, generation=None):
    """Returns the `DecoderConfig` that a `config.json` describes.

    Args:
        values: Dict of `config.json`.
        name: The config's name.
        file: The file, for errors.
        generation: Dict of `generation_config.json`, whose stop tokens go
            first where there are any.

    Raises:
        UserError: A model type, or a feature of it, that is not supported.
    """
    try:
        kind = values.get("model_type")
        if kind not in FAMILIES:
            raise unknown_choice("model_type", kind, FAMILIES)
        if values.get("quantization_config"):
            raise UserError(
                "expected unquantized weights. Received: a "
                "`quantization_config`"
            )
        config = DecoderConfig(
            name=name,
            bos=_one_token(values.get("bos_token_id")),
            eos=_tokens(generation, values),
            **FAMILIES[kind](values),
        )
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    except KeyError as error:
        raise UserError(f"{file}: expected a value {error}") from error
    except DAMAGE as error:
        raise UserError(
            f"{file}: expected values of their usual types. Received: {error}"
        ) from error
    return checked_config(config, file)


def _gpt2(values):
    for key, expected in (
        ("scale_attn_weights", True),
        ("scale_attn_by_inverse_layer_idx", False),
    ):
        if values.get(key, expected) != expected:
            raise UserError(
                f"`{key}` must be {expected}. Received: {values[key]!r}"
            )
    width, heads = _size(values, "n_embd"), _size(values, "n_head")
    return {
        "vocabulary": _size(values, "vocab_size"),
        "width": width,
        "layers": _size(values, "n_layer"),
        "heads": heads,
        "kv_heads": heads,
        "head_dim": _head_dim(width, heads),
        "hidden": values.get("n_inner") or 4 * width,
        "context": _size(values, "n_positions"),
        "norm": "layer",
        "norm_epsilon": float(values.get("layer_norm_epsilon", 1e-5)),
        "positions": "learned",
        "activation": _activation(
            values.get("activation_function", "gelu_new")
        ),
        "gated": False,
        "attention_bias": True,
        "attention_out_bias": True,
        "mlp_bias": True,
        "tied": bool(values.get("tie_word_embeddings", True)),
    }


def _llama(values):
    width, heads = (
        _size(values, "hidden_size"),
        _size(values, "num_attention_heads"),
    )
    bias = bool(values.get("attention_bias", False))
    theta, scaling = _rope(values)
    return {
        "vocabulary": _size(values, "vocab_size"),
        "width": width,
        "layers": _size(values, "num_hidden_layers"),
        "heads": heads,
        "kv_heads": values.get("num_key_value_heads") or heads,
        "head_dim": values.get("head_dim") or _head_dim(width, heads),
        "hidden": _size(values, "intermediate_size"),
        "context": values.get("max_position_embeddings", 2048),
        "norm_epsilon": float(values.get("rms_norm_eps", 1e-6)),
        "rope_theta": theta,
        "rope_scaling": scaling,
        "activation": _activation(values.get("hidden_act", "silu")),
        "attention_bias": bias,
        "attention_out_bias": bias,
        "mlp_bias": bool(values.get("mlp_bias", False)),
        "tied": bool(values.get("tie_word_embeddings", False)),
    }


FAMILIES = {"gpt2": _gpt2, "llama": _llama}


def _size(values, key):
    value = values[key]
    if type(value) is not int or value < 1:
        raise UserError(
            f"`{key}` must be a positive integer. Received: {value!r}"
        )
    return value


def _head_dim(width, heads):
    if width % heads:
        raise UserError(
            f"the {heads} heads must divide the width. Received: {width}"
        )
    return width // heads


def _activation(value):
    if value not in _ACTIVATIONS:
        raise unknown_choice("activation", value, _ACTIVATIONS)
    return _ACTIVATIONS[value]


def _rope(values):
    """Returns theta and scaling, from transformers 4 or 5 configs."""
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    theta = rope.get("rope_theta", values.get("rope_theta", 10000.0))
    kind = rope.get("rope_type", rope.get("type", "default"))
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise UserError(
            "`partial_rotary_factor` must be 1. Received: "
            f"{rope['partial_rotary_factor']}"
        )
    kinds = {"default": None, "linear": _linear, "llama3": _llama3}
    if kind not in kinds:
        raise unknown_choice("rope_type", kind, kinds)
    scaling = kinds[kind] and kinds[kind](rope)
    return float(theta), scaling


def _linear(rope):
    return {"type": "linear", "factor": float(rope["factor"])}


def _llama3(rope):
    return {
        "type": "llama3",
        "factor": float(rope["factor"]),
        "low_freq_factor": float(rope["low_freq_factor"]),
        "high_freq_factor": float(rope["high_freq_factor"]),
        "original_context": rope["original_max_position_embeddings"],
    }


def _one_token(value):
    return value[0] if isinstance(value, list) else value


def _tokens(generation, values):
    for source in (generation or {}, values):
        value = source.get("eos_token_id")
        if value is not None:
            return tuple(value) if isinstance(value, list) else (value,)
    return ()
