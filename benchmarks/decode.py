#!/usr/bin/env python
"""Sets exports beside llama.cpp and PyTorch: decoding on this machine.

Every side reads the same prompts and decodes greedily behind them, a batch of
one, each in a process of its own, one after the other; its perplexity stands on
all windows of the same text. llama.cpp's files are made here from the same
model's GGUF file.

Examples:
  python benchmarks/decode.py --artifacts=saved_models/four,saved_models/eight
  python benchmarks/decode.py --artifacts=saved_models/four
      --llama_python=llama-venv/bin/python --peer_python=peer-venv/bin/python
  python benchmarks/decode.py --artifacts=saved_models/four --contexts=64
      --limit=8 --json=out/decode.json
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import comparison
import numpy as np
from absl import flags
from hand_over import write_weights

from tfshrink import cli
from tfshrink.errors import UserError
from tfshrink.evaluation.results import origin
from tfshrink.evaluation.table import markdown_table
from tfshrink.evaluation.table import print_table
from tfshrink.files import write_json

FLAGS = flags.FLAGS
SIDES = pathlib.Path(__file__).parent / "decoding"

cli.define_model_flags()
with cli.flag_group("Sides"):
    flags.DEFINE_list("artifacts", [], "Folders of bin/export.")
    flags.DEFINE_string(
        "llama_python", None, "Python with llama-cpp-python, for llama.cpp."
    )
    flags.DEFINE_list(
        "gguf_types", ["Q8_0", "Q4_0", "Q4_1"], "Types of llama.cpp's files."
    )
    flags.DEFINE_string(
        "peer_python", None, "Python with torch and transformers, for PyTorch."
    )
with cli.flag_group("Work"):
    flags.DEFINE_list("contexts", ["64", "512", "2048"], "Tokens of prompts.")
    flags.DEFINE_integer("new_tokens", 64, "Decoded tokens.", lower_bound=1)
    flags.DEFINE_integer("repeats", 3, "Measurements.", lower_bound=1)
    flags.DEFINE_integer("threads", 2, "CPU threads.", lower_bound=1)
    flags.DEFINE_string("data", "pydoc", "Text, of which the test split.")
    flags.DEFINE_integer(
        "limit", None, "Windows of the perplexity; 0 is none.", lower_bound=0
    )
with cli.flag_group("Output"):
    flags.DEFINE_string("json", None, "File that takes the figures.")


def write_work(source, path):
    """Writes prompts and windows for `decoding/protocol.py`.

    Args:
        source: `Source`, for its tokenizer.
        path: The `.npz` file.
    """
    from tfshrink.evaluation.judged_text import JudgedText
    from tfshrink.evaluation.protocol import Protocol

    protocol = Protocol(data=FLAGS.data)
    examples = JudgedText.load(protocol, source.tokenizer()).examples
    batches = list(examples.batches(1))
    rows, masks = (
        np.concatenate([np.asarray(batch[name]) for batch in batches])
        for name in ("tokens", "mask")
    )
    text = np.concatenate([rows[0], *(row[1:] for row in rows[1:])])
    longest = max(map(int, FLAGS.contexts), default=0)
    if len(text) <= longest:
        raise UserError(
            f"`--data` must hold more than {longest} tokens, the longest of "
            f"--contexts. Received: {FLAGS.data}, {len(text)} tokens"
        )
    limit = FLAGS.limit if FLAGS.limit is not None else len(rows)
    np.savez(path, text=text, rows=rows[:limit], masks=masks[:limit])


def sides(source, folder):
    """Yields the name, variant, command and file of each side.

    A file that a side needs is made when its turn comes, and gone after it.

    Args:
        source: `Source` of the model.
        folder: Where those files go.
    """
    from tfshrink.deploy.artefact import Artefact

    for artefact in map(Artefact, FLAGS.artifacts):
        name = artefact.metadata["plan"]["name"]
        command = [sys.executable, str(SIDES / "litert_side.py")]
        yield (
            "tfshrink",
            f"plan {name}",
            [*command, f"--model={artefact.folder}"],
            artefact.path,
        )
    if FLAGS.llama_python:
        command = [FLAGS.llama_python, str(SIDES / "llama_side.py")]
        for kind in FLAGS.gguf_types:
            path = folder / f"{kind}.gguf"
            made = [f"--model={gguf_file(source)}", f"--quantize={kind}"]
            make_gguf([*command, *made, f"--out={path}"], kind)
            yield "llama.cpp", kind, [*command, f"--model={path}"], path
            path.unlink()
    if FLAGS.peer_python:
        write_weights(source, folder)
        command = [FLAGS.peer_python, str(SIDES / "torch_side.py")]
        weights = folder / "model.safetensors"
        yield "PyTorch", "float32", [*command, f"--model={folder}"], weights


def make_gguf(command, kind):
    """Runs llama.cpp's quantization to one of its types."""
    if subprocess.run(command, check=False).returncode:
        raise UserError(
            "`--gguf_types` must name what llama.cpp can make. "
            f"Received: {kind}"
        )


def gguf_file(source):
    """The GGUF file that a model is read from."""
    path = getattr(source, "path", None)
    if path is None or not str(path).endswith(".gguf"):
        raise UserError(
            "`--model` must be read from a .gguf file for llama.cpp to run it. "
            f"Received: {FLAGS.model}"
        )
    return path


def row_of(side, variant, path, found):
    """One row of the table."""
    row = {"side": side, "variant": variant, "MB": os.path.getsize(path) / 1e6}
    for context, speeds in found["speeds"].items():
        row[f"decode@{context}"] = speeds["decode"]["median"]
    for context, speeds in found["speeds"].items():
        row[f"prefill@{context}"] = speeds["prefill"]["median"]
    row["peak MB"] = found["peak_rss_mb"]
    row["perplexity"] = found.get("perplexity")
    return row


def main(arguments):
    """Measures every side and prints the table."""
    from tfshrink.models.sources import open_source

    if not (FLAGS.artifacts or FLAGS.llama_python or FLAGS.peer_python):
        raise UserError(
            "`--artifacts`, --llama_python or --peer_python must name a side. "
            "Received: none"
        )
    if not all(text.isdigit() and int(text) for text in FLAGS.contexts):
        raise UserError(
            "`--contexts` must be tokens, split by commas. "
            f"Received: {','.join(FLAGS.contexts)}"
        )
    source, rows, figures = open_source(FLAGS.model), [], []
    with tempfile.TemporaryDirectory(prefix="tfshrink_decode_") as name:
        folder = pathlib.Path(name)
        work = folder / "work.npz"
        write_work(source, work)
        common = [
            f"--work={work}",
            f"--contexts={','.join(FLAGS.contexts)}",
            f"--new_tokens={FLAGS.new_tokens}",
            f"--repeats={FLAGS.repeats}",
            f"--threads={FLAGS.threads}",
        ]
        for side, variant, command, path in sides(source, folder):
            found = comparison.run_side(command + common)
            figures.append({"side": side, "variant": variant, **found})
            rows.append(row_of(side, variant, path, found))
    title = "Greedy decoding, a batch of one: tokens/s behind a prompt"
    speeds = [key for key in rows[0] if "@" in key] if rows else []
    formats = {key: ".0f" for key in (*speeds, "peak MB")}
    formats |= {"MB": ".1f", "perplexity": ".2f"}
    print_table(rows, title=title, formats=formats)
    print(markdown_table(rows, formats=formats))
    if FLAGS.json:
        result = {
            "title": title,
            "rows": rows,
            "figures": figures,
            **origin(),
        }
        write_json(FLAGS.json, result)


if __name__ == "__main__":
    cli.run(main)
