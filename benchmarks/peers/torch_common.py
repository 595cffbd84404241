"""What the PyTorch peers share: reading their input, timing, reporting.

The peers run in an environment of their own (torch, transformers,
safetensors, numpy) without TensorFlow, Keras or absl: hence argparse.
"""

import argparse
import ctypes
import json
import os
import pathlib
import resource
import shutil
import statistics
import sys
import time

import numpy as np
import torch
import transformers

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line on stderr, with exit status 1."""

    def error(self, message):
        """Ends the program."""
        sys.exit(message)


def parser(description, *, batch, context, steps):
    """Returns an argument parser with the flags that every peer has."""
    flags = Parser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = flags.add_argument
    add("--weights", required=True, help="Folder: config.json, safetensors.")
    add("--tokens", required=True, help="int32 .npy file of shape (N, T).")
    add("--dtype", choices=sorted(DTYPES), default="float32")
    add("--batch", type=positive, default=batch, help="Rows a step.")
    add("--context", type=positive, default=context, help="Tokens a row.")
    add("--steps", type=positive, default=steps, help="Measured steps.")
    add("--warmup", type=positive, default=1, help="Steps not measured.")
    add("--threads", type=positive, default=cores(), help="CPU threads.")
    add("--compile", action="store_true", help="Use torch.compile.")
    return flags


def positive(text):
    """Reads a flag's integer that is at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def cores():
    """Number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def prepare(threads):
    """Sets what an experienced user sets before timing PyTorch on a CPU."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    keep_freed_memory()


def keep_freed_memory():
    """Lets glibc reuse large blocks, as jemalloc or tcmalloc would.

    By default every tensor of more than 32 MB is mapped and unmapped anew,
    and each of its pages faults again. Where the C library is another one
    this does nothing.
    """
    mmap_max, trim_threshold = -4, -1  # M_MMAP_MAX, M_TRIM_THRESHOLD
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return
    libc.mallopt(mmap_max, 0)
    libc.mallopt(trim_threshold, 2**31 - 1)


def load_model(folder, dtype):
    """Loads a Llama-family model with fused (SDPA) attention.

    Args:
        folder: Folder with `config.json` and `*.safetensors`.
        dtype: Name of the type of the weights, a key of `DTYPES`.

    Returns:
        A frozen `transformers.LlamaForCausalLM` in evaluation mode.
    """
    folder = pathlib.Path(folder)
    if not (folder / "config.json").is_file():
        sys.exit(f"`--weights` must hold config.json. Received: {folder}")
    if not any(folder.glob("*.safetensors")):
        sys.exit(f"`--weights` must hold *.safetensors. Received: {folder}")
    model = transformers.LlamaForCausalLM.from_pretrained(
        folder,
        dtype=DTYPES[dtype],
        attn_implementation="sdpa",
        use_safetensors=True,
        local_files_only=True,
    )
    model.config.use_cache = False
    return model.requires_grad_(False).eval()


def load_batches(path, *, batch, context, vocabulary):
    """Reads the token file as batches.

    Args:
        path: A `.npy` file of integers of shape (N, T).
        batch: Rows a batch, B. Rows past the last full batch are left out.
        context: Tokens a row; longer rows are cut.
        vocabulary: Number of tokens that the model knows.

    Returns:
        An int64 tensor of shape (N // B, B, context).
    """
    try:
        tokens = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        sys.exit(f"`--tokens` must be a .npy file. Received: {path} ({error})")
    wanted = f"integers of at least ({batch}, {context})"
    if tokens.ndim != 2 or tokens.dtype.kind not in "iu":
        sys.exit(
            f"`--tokens` must be {wanted}. Received: {tokens.dtype} "
            f"of shape {tokens.shape}"
        )
    if tokens.shape[0] < batch or tokens.shape[1] < context:
        sys.exit(f"`--tokens` must be {wanted}. Received: {tokens.shape}")
    if tokens.min() < 0 or tokens.max() >= vocabulary:
        sys.exit(
            f"`--tokens` must lie in 0..{vocabulary - 1}. Received: "
            f"{tokens.min()}..{tokens.max()}"
        )
    count = len(tokens) // batch
    tokens = tokens[: count * batch, :context].astype(np.int64)
    return torch.from_numpy(tokens).reshape(count, batch, context)


def compile_blocks(model):
    """Compiles block by block: all blocks share one compilation a variant."""
    names = [os.environ.get("CXX", "g++"), "g++", "clang++", "c++"]
    if not any(map(shutil.which, names)):
        sys.exit("`--compile` needs a C++ compiler: install g++ or clang++")

    def like_other_blocks(module, inputs, output):
        # Else the first block, whose input needs no gradient, compiles again.
        return output.requires_grad_(torch.is_grad_enabled())

    model.model.embed_tokens.register_forward_hook(like_other_blocks)
    for block in model.model.layers:
        block.compile()


def timed(function, *arguments):
    """Returns the result of a call and how many seconds it took."""
    start = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - start


def report(flags, seconds, **figures):
    """Prints one JSON line: speed, memory, versions, the flags.

    Args:
        flags: The parsed flags.
        seconds: Seconds of every measured step.
        **figures: More entries of the line.
    """
    median = statistics.median(seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    options = {
        k: v for k, v in vars(flags).items() if k not in ("weights", "tokens")
    }
    line = {
        "tokens_per_second": flags.batch * flags.context / median,
        "seconds_per_step": median,
        "seconds_spread": max(seconds) - min(seconds),
        "seconds": seconds,
        "peak_rss_mb": peak * unit / 1e6,
        **figures,
        "options": options,
        "versions": {
            "python": sys.version.split()[0],
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        },
    }
    print(json.dumps(line), flush=True)
