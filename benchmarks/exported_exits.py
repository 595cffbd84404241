#!/usr/bin/env python
"""Sets exports whose tokens may leave early beside the export of all blocks.

Greedy text behind the same prompts, one sequence at a time, on the wall clock,
prompts included, each prompt by all exports in turn. Agreement is with the full
export, token by token along its text, through the exits and caches of the file.

Examples:
  python benchmarks/exported_exits.py --full=saved_models/full
      --artifacts=saved_models/early
  python benchmarks/exported_exits.py --full=saved_models/full --prompts=20
      --artifacts=saved_models/early,saved_models/later --data=notes.txt
  python benchmarks/exported_exits.py --full=saved_models/full --threads=1
      --artifacts=saved_models/early --json=out/exits.json
"""

import time

import numpy as np
from absl import flags

from tfshrink import cli
from tfshrink.evaluation.environment import environment
from tfshrink.evaluation.table import markdown_table
from tfshrink.evaluation.table import print_table
from tfshrink.files import write_json

FLAGS = flags.FLAGS
FORMATS = {
    "tokens_per_second": ".1f",
    "speedup": ".2f",
    "decode": ".1f",
    "decode_speedup": ".2f",
    "agreement": ".1%",
    "same_text": ".1%",
    "layers": ".1f",
}

with cli.flag_group("Sides"):
    flags.DEFINE_string("full", None, "Export of all blocks.", required=True)
    flags.DEFINE_list(
        "artifacts", None, "Exports with exits, of that run.", required=True
    )
    flags.DEFINE_integer("threads", None, "CPU threads.", lower_bound=1)
with cli.flag_group("Work"):
    flags.DEFINE_string("data", "pydoc", "Text, of which the test split.")
    flags.DEFINE_integer("prompts", 100, "Prompts, at most.", lower_bound=1)
    flags.DEFINE_integer(
        "prompt_tokens", 64, "Of each, at most.", lower_bound=1
    )
    flags.DEFINE_integer("new_tokens", 64, "Behind each.", lower_bound=2)
with cli.flag_group("Output"):
    flags.DEFINE_string("json", None, "File that takes the figures.")


class Side:
    """An export and what was measured of it.

    Args:
        folder: Of bin/export.
    """

    def __init__(self, folder):
        from tfshrink.deploy.runtime import Runtime

        self.runtime = Runtime(folder, threads=FLAGS.threads)
        self.folder = folder
        self.seconds, self.decode_seconds, self.count = 0.0, 0.0, 0
        self.depths, self.agreed, self.same = [], [], []

    def write(self, prompt):
        """Greedy text behind a prompt, timed, which begins from nothing.

        Args:
            prompt: Token ids.

        Returns:
            The `new_tokens` token ids; a stop token does not stop them.
        """
        session, made = self.runtime.session, []
        session.reset()
        start = time.perf_counter()
        session.begin(FLAGS.new_tokens)
        made.append(int(session.prefill(prompt).argmax()))
        read, depths = time.perf_counter(), [session.depth]
        while len(made) < FLAGS.new_tokens:
            made.append(int(session.step(made[-1]).argmax()))
            depths.append(session.depth)
        end = time.perf_counter()
        self.seconds += end - start
        self.decode_seconds += end - read
        self.count += len(made)
        self.depths += depths
        return made

    def follow(self, prompt, text):
        """Takes the full export's text: how many tokens it says, too."""
        session = self.runtime.session
        session.reset()
        session.begin(len(text))
        said = [int(session.prefill(prompt).argmax())]
        said += [int(session.step(token).argmax()) for token in text[:-1]]
        self.agreed += [a == b for a, b in zip(said, text, strict=True)]

    def row(self, full):
        """What came out, speeds beside those of the full export."""
        decoded = self.count - self.count // FLAGS.new_tokens
        row = {
            "export": str(self.folder),
            "exit": self._policy(),
            "tokens_per_second": self.count / self.seconds,
            "speedup": full.seconds / self.seconds,
            "decode": decoded / self.decode_seconds,
            "decode_speedup": full.decode_seconds / self.decode_seconds,
            "layers": float(np.mean(self.depths)),
        }
        if self is not full:
            row["agreement"] = float(np.mean(self.agreed))
            row["same_text"] = float(np.mean(self.same))
        return row

    def _policy(self):
        """Its policy in words, `None` of an export without."""
        from tfshrink.exit_spec import ExitSpec

        exits = self.runtime.metadata.get("exit")
        return exits and str(ExitSpec.from_json(exits))


def beginnings(tokenizer):
    """Prompts of the test split, lists of token ids."""
    from tfshrink.data.prompts import load_prompts

    found = load_prompts(
        FLAGS.data,
        tokenizer,
        split="test",
        count=FLAGS.prompts,
        length=FLAGS.prompt_tokens,
    )
    pairs = zip(found.tokens, found.lengths, strict=True)
    return [row[:length].tolist() for row, length in pairs]


def main(arguments):
    """Measures all exports and prints the table."""
    full, *others = sides = [Side(FLAGS.full), *map(Side, FLAGS.artifacts)]
    prompts = beginnings(full.runtime.tokenizer)
    for side in sides:  # what a first call prepares is not counted
        side.write(prompts[0])
        side.seconds, side.decode_seconds, side.count = 0.0, 0.0, 0
        side.depths = []
    for prompt in prompts:
        text = full.write(prompt)
        for side in others:
            side.same.append(side.write(prompt) == text)
            side.follow(prompt, text)
    rows = [side.row(full) for side in sides]
    title = (
        f"Exports that leave early: {len(prompts)} prompts of "
        f"{FLAGS.prompt_tokens} tokens at most, {FLAGS.new_tokens} new each"
    )
    print_table(rows, title=title, formats=FORMATS)
    print(markdown_table(rows, formats=FORMATS))
    if FLAGS.json:
        result = {"title": title, "rows": rows, "environment": environment()}
        write_json(FLAGS.json, result)


if __name__ == "__main__":
    cli.run(main)
