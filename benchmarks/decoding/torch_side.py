"""PyTorch's side of benchmarks/decode.py: `transformers`, float32.

    peer-venv/bin/python benchmarks/decoding/torch_side.py \
        --model=FOLDER --work=work.npz

Prints one line of JSON. The cache grows with the text, as `generate` has it.
"""

import protocol
import torch
import transformers


class TorchSide:
    """A Llama-family model and the cache of one sequence.

    Args:
        folder: `config.json` and `model.safetensors`.
        threads: Of a call.
    """

    def __init__(self, folder, threads):
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        torch.set_num_threads(threads)
        self.model = transformers.LlamaForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            attn_implementation="sdpa",
            local_files_only=True,
        ).eval()
        self.reset()

    def reset(self):
        """Forgets the sequence."""
        self.cache = transformers.DynamicCache()

    @torch.inference_mode()
    def _append(self, tokens, keep):
        logits = self.model(
            torch.as_tensor([tokens], dtype=torch.int64),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=keep,
        ).logits
        return logits[0].numpy()

    def prefill(self, tokens):
        """Appends tokens; logits of the last."""
        return self._append([int(token) for token in tokens], 1)[0]

    def step(self, token):
        """Appends one token; its logits."""
        return self._append([token], 1)[0]

    def score(self, tokens):
        """Appends tokens; the logits of each."""
        return self._append([int(token) for token in tokens], 0)


if __name__ == "__main__":
    options = protocol.parser(__doc__, "Folder of weights.").parse_args()
    protocol.run(
        options, lambda flags, _: TorchSide(flags.model, flags.threads)
    )
