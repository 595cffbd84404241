"""Hands one decoder and one text to all sides, in files that each can read."""

import json
import pathlib

import numpy as np

from tfshrink.errors import UserError
from tfshrink.files import atomic_write
from tfshrink.files import write_json
from tfshrink.models.sources.weight_names import split_name
from tfshrink.models.sources.weight_names import weight_shapes

# Our modules to those of `transformers`.
MODULES = {
    "attention/key": "self_attn.k_proj",
    "attention/output": "self_attn.o_proj",
    "attention/query": "self_attn.q_proj",
    "attention/value": "self_attn.v_proj",
    "attention_norm": "input_layernorm",
    "embedding": "embed_tokens",
    "final_norm": "norm",
    "mlp/down": "mlp.down_proj",
    "mlp/gate": "mlp.gate_proj",
    "mlp/up": "mlp.up_proj",
    "mlp_norm": "post_attention_layernorm",
}


def write_weights(source, folder):
    """Writes a decoder of the Llama family as Hugging Face folders hold it.

    The tensors go to the file one by one as they come from the source.

    Args:
        source: `Source`.
        folder: Folder that takes `config.json` and `model.safetensors`.

    Raises:
        UserError: The decoder is not of the Llama family.
    """
    folder = pathlib.Path(folder)
    write_json(folder / "config.json", llama_config(source.config))
    shapes = weight_shapes(source.config)
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * int(np.prod(shape))
        header[stored_name(name)] = {
            "dtype": "F32",
            "shape": shape[::-1] if name.endswith("/kernel") else shape,
            "data_offsets": [start, end],
        }
    header = json.dumps(header).encode()
    header += b" " * (-len(header) % 8)
    with atomic_write(folder / "model.safetensors", "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for name, value in source.weights():
            value = value.T if name.endswith("/kernel") else value
            file.write(np.ascontiguousarray(value, "<f4").data)


def llama_config(config):
    """The `config.json` of a `DecoderConfig`."""
    if config.norm != "rms" or config.positions != "rope":
        raise UserError(
            "`model` must be of the Llama family, which is what the peers "
            f"run. Received: {config.name}"
        )
    if config.rope_scaling is not None:
        raise UserError(
            "`model` must have an unscaled rotary embedding. "
            f"Received: {config.rope_scaling}"
        )
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.context,
        "hidden_act": config.activation,
        "rms_norm_eps": config.norm_epsilon,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": config.rope_theta,
        },
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        "tie_word_embeddings": config.tied,
        "bos_token_id": config.bos,
        "eos_token_id": list(config.eos) or None,
    }


def stored_name(name):
    """`model.layers.7.mlp.up_proj.weight` for `block_07/mlp/up/kernel`."""
    index, module, leaf = split_name(name)
    suffix = "bias" if leaf == "bias" else "weight"
    if module == "head":
        return f"lm_head.{suffix}"
    block = "" if index is None else f"layers.{index}."
    return f"model.{block}{MODULES[module]}.{suffix}"


def write_tokens(source, path, *, data, rows, context):
    """Writes rows of held-out text as an int32 `.npy` file `(rows, T)`.

    Args:
        source: `Source`, for its tokenizer.
        path: The file.
        data: A data set's name or a local file.
        rows: How many rows, B times the batches.
        context: Tokens in a row, T.

    Raises:
        UserError: The text has too few tokens.
    """
    from tfshrink.data.documents import load_examples

    config = source.config
    separator = config.eos[0] if config.eos else 0
    tokens = load_examples(
        data, source.tokenizer(), context, separator=separator, split="test"
    ).tokens
    if len(tokens) < rows:
        raise UserError(
            f"`data` must hold {rows} rows of {context} tokens. "
            f"Received: {len(tokens)} of {data}"
        )
    with atomic_write(path, "wb") as file:
        np.save(file, tokens[:rows].astype("int32"))
