"""Writes small GGUF files from Hugging Face folders, as llama.cpp does."""

import gguf
import numpy as np
from safetensors.numpy import load_file

from tests.golden import random_checkpoints

_LLAMA = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "model.layers": "blk",
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
_GPT2 = {
    "transformer.h": "blk",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
    "ln_1": "attn_norm",
    "ln_2": "ffn_norm",
    "transformer.wte": "token_embd",
    "transformer.wpe": "position_embd",
    "transformer.ln_f": "output_norm",
    "lm_head": "output",
}


def write_gguf(
    path, case, folder, *, kind="F32", theta=None, edit=None, tensors=None
):
    """Writes `case` to `path`; `folder` gets its Hugging Face twin.

    Args:
        path: The GGUF.
        case: A name in `random_checkpoints.CASES`.
        folder: Where the safetensors go.
        kind: Quantization of the matrices whose rows it divides.
        theta: Rotary base, in place of the case's own.
        edit: Called with the writer, to add metadata.
        tensors: Further tensors.
    """
    random_checkpoints.write_checkpoint(folder, case)
    values = random_checkpoints.CASES[case]
    family = values["model_type"]
    writer = gguf.GGUFWriter(path, family)
    _write_values(writer, values, theta)
    if edit:
        edit(writer)
    stored = load_file(folder / "model.safetensors")
    for name, array in stored.items():
        if family == "gpt2" and ".h." in name and array.ndim == 2:
            array = array.T
        if name.endswith(("q_proj.weight", "q_proj.bias")):
            array = interleave(array, values["num_attention_heads"])
        if name.endswith(("k_proj.weight", "k_proj.bias")):
            array = interleave(array, values["num_key_value_heads"])
        for ours, theirs in (_GPT2 if family == "gpt2" else _LLAMA).items():
            name = name.replace(ours, theirs)
        _add(writer, name, np.ascontiguousarray(array), kind)
    for name, array in (tensors or {}).items():
        _add(writer, name, array, "F32")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def interleave(array, heads):
    """Row i of a half and row i of the other become neighbours."""
    result = np.empty_like(array)
    size = array.shape[0] // heads
    for head in range(heads):
        start = head * size
        for row in range(size // 2):
            result[start + 2 * row] = array[start + row]
            result[start + 2 * row + 1] = array[start + size // 2 + row]
    return result


def _add(writer, name, array, kind):
    kind = gguf.GGMLQuantizationType[kind]
    if array.ndim < 2 or array.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0]:
        kind = gguf.GGMLQuantizationType.F32
    writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)


def _write_values(writer, values, theta):
    gpt2 = values["model_type"] == "gpt2"
    heads = values["n_head" if gpt2 else "num_attention_heads"]
    width = values["n_embd" if gpt2 else "hidden_size"]
    writer.add_block_count(values["n_layer" if gpt2 else "num_hidden_layers"])
    writer.add_context_length(random_checkpoints.CONTEXT)
    writer.add_embedding_length(width)
    writer.add_head_count(heads)
    writer.add_bos_token_id(values["bos_token_id"])
    writer.add_eos_token_id(values["eos_token_id"])
    if gpt2:
        writer.add_feed_forward_length(values.get("n_inner") or 4 * width)
        writer.add_layer_norm_eps(values["layer_norm_epsilon"])
        return
    writer.add_feed_forward_length(values["intermediate_size"])
    writer.add_head_count_kv(values["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(values["rms_norm_eps"])
    rope = values.get("rope_parameters", values)
    writer.add_rope_freq_base(theta or rope["rope_theta"])
    if "head_dim" in values:
        writer.add_key_length(values["head_dim"])
        writer.add_rope_dimension_count(values["head_dim"])
    if "rope_scaling" in values:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(values["rope_scaling"]["factor"])
