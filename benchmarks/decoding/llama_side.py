"""llama.cpp's side of benchmarks/decode.py, through llama-cpp-python.

    llama-venv/bin/python benchmarks/decoding/llama_side.py \
        --model=model.Q4_0.gguf --work=work.npz
    llama-venv/bin/python benchmarks/decoding/llama_side.py \
        --model=model.gguf --quantize=Q4_0 --out=model.Q4_0.gguf

Prints one line of JSON, or with `--quantize` writes a file of another type. The
calls are those of the C library, without the copies of the Python class.
"""

import ctypes
import sys

import llama_cpp
import numpy as np
import protocol

TYPES = {
    "Q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0,
    "Q4_1": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_1,
    "Q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0,
}
BATCH = 512  # tokens of a call at most, which is also llama.cpp's default


@llama_cpp.llama_log_callback
def _silent(level, text, data):
    """Takes what the library would print."""


class LlamaSide:
    """A GGUF file and the cache of one sequence.

    Args:
        path: The file.
        longest: Tokens of the longest sequence.
        threads: Of a call.
    """

    def __init__(self, path, longest, threads):
        options = llama_cpp.llama_model_default_params()
        self.model = llama_cpp.llama_model_load_from_file(
            path.encode(), options
        )
        if not self.model:
            sys.exit(f"`--model` must be a GGUF file. Received: {path}")
        options = llama_cpp.llama_context_default_params()
        options.n_ctx = -(-longest // 256) * 256
        options.n_batch = options.n_ubatch = BATCH
        options.n_threads = options.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(self.model, options)
        vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.width = llama_cpp.llama_vocab_n_tokens(vocabulary)
        self.batch = llama_cpp.llama_batch_init(BATCH, 0, 1)
        self.length = 0

    def reset(self):
        """Forgets the sequence."""
        memory = llama_cpp.llama_get_memory(self.context)
        llama_cpp.llama_memory_clear(memory, True)
        self.length = 0

    def _append(self, tokens, every):
        """Logits `(N, V)` of every token, or of the last."""
        batch = self.batch
        batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            batch.token[index] = int(token)
            batch.pos[index] = self.length + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = every or index + 1 == len(tokens)
        if llama_cpp.llama_decode(self.context, batch):
            sys.exit(f"llama_decode failed at token {self.length}")
        self.length += len(tokens)
        logits = llama_cpp.llama_get_logits(self.context)
        rows = len(tokens) if every else 1
        return np.ctypeslib.as_array(logits, (rows, self.width))

    def prefill(self, tokens):
        """Appends tokens; logits of the last."""
        for start in range(0, len(tokens), BATCH):
            logits = self._append(tokens[start : start + BATCH], every=False)
        return logits[0]

    def step(self, token):
        """Appends one token; its logits."""
        return self._append([token], every=False)[0]

    def score(self, tokens):
        """Appends at most `BATCH` tokens; the logits of each."""
        return self._append(tokens, every=True)


def quantize(path, kind, out):
    """Writes a GGUF file of another type; its blocks start from floats."""
    options = llama_cpp.llama_model_quantize_default_params()
    options.ftype = TYPES[kind]
    options.allow_requantize = True
    if llama_cpp.llama_model_quantize(
        path.encode(), out.encode(), ctypes.byref(options)
    ):
        sys.exit(f"`--model` cannot be quantized to {kind}: {path}")


def main():
    """Measures, or quantizes."""
    flags = protocol.parser(__doc__, "GGUF file.")
    flags.add_argument("--quantize", choices=sorted(TYPES), help="A type.")
    flags.add_argument("--out", help="File that --quantize writes.")
    flags = flags.parse_args()
    llama_cpp.llama_log_set(_silent, ctypes.c_void_p())
    if flags.quantize:
        return quantize(flags.model, flags.quantize, flags.out)
    protocol.run(
        flags,
        lambda flags, longest: LlamaSide(flags.model, longest, flags.threads),
    )


if __name__ == "__main__":
    main()
