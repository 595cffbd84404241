"""Random checkpoints in the format of Hugging Face, the same everywhere.

`make_decoder_logits.py` gives them to PyTorch, the tests to tfshrink, so
that only logits need to be committed. Imports NumPy and safetensors alone.
"""

import json
import pathlib
import zlib

import numpy as np
from safetensors.numpy import save_file

VOCABULARY = 61
CONTEXT = 48

_GPT2 = {
    "model_type": "gpt2",
    "architectures": ["GPT2LMHeadModel"],
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": CONTEXT,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
_LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": CONTEXT,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}

CASES = {
    "gpt2": _GPT2,
    "gpt2_untied": _GPT2
    | {
        "tie_word_embeddings": False,
        "activation_function": "gelu",
        "n_inner": 40,
    },
    "llama": _LLAMA,
    "llama_tied_gqa": _LLAMA
    | {"tie_word_embeddings": True, "num_key_value_heads": 2},
    "llama_single_kv_head": _LLAMA | {"num_key_value_heads": 1},
    "llama_biases": _LLAMA
    | {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 2},
    "llama_wide_heads": _LLAMA | {"head_dim": 16, "rms_norm_eps": 1e-3},
    "llama_rope_llama3": {
        key: value for key, value in _LLAMA.items() if key != "rope_theta"
    }
    | {"rope_parameters": _LLAMA3_ROPE},
    "llama_rope_linear": _LLAMA
    | {"rope_scaling": {"type": "linear", "factor": 2.5}},
}


def tokens(case):
    """Returns (2, 40) token ids for `case`."""
    return _generator(case, "tokens").integers(VOCABULARY, size=(2, 40))


def write_checkpoint(folder, case, shards=1):
    """Writes `config.json` and safetensors of `case` into `folder`."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    values = CASES[case]
    (folder / "config.json").write_text(json.dumps(values, indent=1))
    shapes = _gpt2(values) if values["model_type"] == "gpt2" else {}
    shapes = shapes or _llama(values)
    tensors = {
        name: _tensor(case, name, shape) for name, shape in shapes.items()
    }
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return
    index = {}
    for shard in range(shards):
        name = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = dict(list(tensors.items())[shard::shards])
        save_file(part, folder / name, {"format": "pt"})
        index |= dict.fromkeys(part, name)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": index})
    )


def _generator(case, name):
    return np.random.default_rng(zlib.crc32(f"{case} {name}".encode()))


def _tensor(case, name, shape):
    values = _generator(case, name).standard_normal(shape)
    if "norm" in name or "ln_" in name:
        values = 0.2 * values + (0 if name.endswith("bias") else 1)
    elif name.endswith("bias"):
        values = 0.2 * values
    elif len(shape) == 2:
        values = values * 1.2 / np.sqrt(min(shape))
    return values.astype(np.float32)


def _gpt2(values):
    width, hidden = values["n_embd"], values.get("n_inner") or 128
    shapes = {
        "transformer.wte.weight": (VOCABULARY, width),
        "transformer.wpe.weight": (CONTEXT, width),
        "transformer.ln_f.weight": (width,),
        "transformer.ln_f.bias": (width,),
    }
    for index in range(values["n_layer"]):
        block = f"transformer.h.{index}"
        for norm in ("ln_1", "ln_2"):
            shapes[f"{block}.{norm}.weight"] = (width,)
            shapes[f"{block}.{norm}.bias"] = (width,)
        for name, inputs, outputs in (
            ("attn.c_attn", width, 3 * width),
            ("attn.c_proj", width, width),
            ("mlp.c_fc", width, hidden),
            ("mlp.c_proj", hidden, width),
        ):
            shapes[f"{block}.{name}.weight"] = (inputs, outputs)
            shapes[f"{block}.{name}.bias"] = (outputs,)
    if not values.get("tie_word_embeddings", True):
        shapes["lm_head.weight"] = (VOCABULARY, width)
    return shapes


def _llama(values):
    width, hidden = values["hidden_size"], values["intermediate_size"]
    heads, keys = values["num_attention_heads"], values["num_key_value_heads"]
    size = values.get("head_dim", width // heads)
    shapes = {
        "model.embed_tokens.weight": (VOCABULARY, width),
        "model.norm.weight": (width,),
    }
    for index in range(values["num_hidden_layers"]):
        block = f"model.layers.{index}"
        shapes[f"{block}.input_layernorm.weight"] = (width,)
        shapes[f"{block}.post_attention_layernorm.weight"] = (width,)
        for name, inputs, outputs, bias in (
            ("self_attn.q_proj", width, heads * size, "attention_bias"),
            ("self_attn.k_proj", width, keys * size, "attention_bias"),
            ("self_attn.v_proj", width, keys * size, "attention_bias"),
            ("self_attn.o_proj", heads * size, width, "attention_bias"),
            ("mlp.gate_proj", width, hidden, "mlp_bias"),
            ("mlp.up_proj", width, hidden, "mlp_bias"),
            ("mlp.down_proj", hidden, width, "mlp_bias"),
        ):
            shapes[f"{block}.{name}.weight"] = (outputs, inputs)
            if values.get(bias):
                shapes[f"{block}.{name}.bias"] = (outputs,)
    if not values.get("tie_word_embeddings"):
        shapes["lm_head.weight"] = (VOCABULARY, width)
    return shapes
