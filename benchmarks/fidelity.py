#!/usr/bin/env python
"""Sets the text of an export beside that of the plan simulated in Keras.

Both continue the beginnings of held-out documents greedily. A row says where
the two first differ, and by how much the simulation preferred its own token to
the export's there, in nats.

Examples:
  python benchmarks/fidelity.py --workdir=runs/spnet-1
      --artifacts=saved_models/four,saved_models/eight
  python benchmarks/fidelity.py --artifacts=saved_models/tiny-4 --model=tiny
  python benchmarks/fidelity.py --workdir=runs/spnet-1 --json=out/fidelity.json
      --artifacts=saved_models/four --prompts=16 --new_tokens=128
"""

import itertools
import pathlib
import tempfile

import numpy as np
from absl import flags

from tfshrink import cli
from tfshrink.errors import UserError
from tfshrink.evaluation.results import origin
from tfshrink.evaluation.table import print_table
from tfshrink.files import write_json
from tfshrink.structure import plan_tensor

FLAGS = flags.FLAGS

cli.define_model_flags()
with cli.flag_group("Work"):
    flags.DEFINE_string("workdir", None, "The run the exports are of.")
    flags.DEFINE_list(
        "artifacts", None, "Folders of bin/export.", required=True
    )
    flags.DEFINE_string("data", "pydoc", "Text, of which the test split.")
    flags.DEFINE_integer("prompts", 8, "Documents.", lower_bound=1)
    flags.DEFINE_integer("prompt_tokens", 32, "Of each.", lower_bound=1)
    flags.DEFINE_integer("new_tokens", 64, "Behind each.", lower_bound=1)
with cli.flag_group("Output"):
    flags.DEFINE_string("json", None, "File that takes the figures.")


def beginnings(source):
    """The first tokens of documents that are long enough."""
    from tfshrink.data.documents import load_documents
    from tfshrink.data.pack import tokenize

    documents = load_documents(FLAGS.data, "test")
    found = [
        [int(token) for token in tokens[: FLAGS.prompt_tokens]]
        for tokens in tokenize(documents, source.tokenizer())
        if len(tokens) >= FLAGS.prompt_tokens
    ][: FLAGS.prompts]
    if len(found) < FLAGS.prompts:
        raise UserError(
            f"`--data` must hold {FLAGS.prompts} documents of "
            f"{FLAGS.prompt_tokens} tokens. Received: {len(found)}"
        )
    return found


def simulation(artefact):
    """The candidate that an export was made from, at its plan."""
    from tfshrink.evaluation.candidate import model_candidates
    from tfshrink.evaluation.candidate import run_candidates

    plan = artefact.metadata["plan"]
    with tempfile.TemporaryDirectory(prefix="tfshrink_fidelity_") as folder:
        path = pathlib.Path(folder) / f"{plan['name']}.json"
        write_json(path, plan)
        if FLAGS.workdir:
            found = run_candidates([FLAGS.workdir], str(path), activations=8)
        else:
            found = model_candidates(
                FLAGS.model, str(path), group=plan["group"], activations=8
            )
    return found[0]


def compare(artefact, prompts):
    """Rows of one export, one a prompt.

    Args:
        artefact: `Artefact`.
        prompts: Lists of tokens.
    """
    from tfshrink.evaluation.artefact_judge import ArtefactJudge
    from tfshrink.models.generation import Generator

    one = simulation(artefact)
    model = one.load("float32")
    bits = plan_tensor(model.config, one.plans[0])
    wanted = Generator(model, bits=bits, chunk=16).generate(
        prompts, max_new_tokens=FLAGS.new_tokens, temperature=0.0
    )
    judge = ArtefactJudge(artefact.folder, None, None)
    rows = []
    for prompt, own in zip(prompts, wanted, strict=True):
        made = judge.continuation(prompt, FLAGS.new_tokens)
        place, margin = first_difference(own, made), None
        if place is not None and place < min(len(own), len(made)):
            text = np.array([prompt + own[:place]], "int32")
            logits = np.asarray(model(text, bits))[0, -1]
            margin = float(logits[own[place]] - logits[made[place]])
        rows.append(
            {
                "export": artefact.folder.name,
                "plan": one.plans[0].name,
                "tokens": len(own),
                "first difference": place,
                "margin, nats": margin,
            }
        )
    return rows


def first_difference(a, b):
    """Index of the first token two lists differ in, or `None`."""
    if a == b:
        return None
    pairs = itertools.zip_longest(a, b)
    return next(i for i, (x, y) in enumerate(pairs) if x != y)


def main(arguments):
    """Compares all exports and prints the table."""
    from tfshrink.deploy.artefact import Artefact

    artefacts = list(map(Artefact, FLAGS.artifacts))
    source = simulation(artefacts[0]).source
    prompts = beginnings(source)
    rows = sum((compare(own, prompts) for own in artefacts), [])
    title = "Greedy text of exports, against the plans simulated in Keras"
    print_table(rows, title=title)
    for own in artefacts:
        ours = [row for row in rows if row["export"] == own.folder.name]
        same = sum(row["first difference"] is None for row in ours)
        print(f"{own.folder.name}: {same} of {len(ours)} texts are identical.")
    if FLAGS.json:
        result = {"title": title, "rows": rows, **origin()}
        write_json(FLAGS.json, result)


if __name__ == "__main__":
    cli.run(main)
