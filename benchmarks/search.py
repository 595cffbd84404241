#!/usr/bin/env python
"""Sets the fronts of searches beside random plans and all layers equal.

Every side judges the same number of plans with one evaluator, for several
seeds. The hypervolume is that of size and margin, relative to the rectangle
between nothing at all and 16 bits at a margin of -1.

Examples:
  python benchmarks/search.py --workdir=runs/spnet-1 --iterations=200
  python benchmarks/search.py --model=smollm2-135m --bits=8,6,5,4 --draws=3
  python benchmarks/search.py --model=tiny --group=32 --iterations=30 --draws=2
"""

import dataclasses
import pathlib
import statistics
import tempfile

from absl import flags

from tfshrink import cli
from tfshrink.search import flags as shared

FLAGS = flags.FLAGS
SIDES = ("nsga2", "tpe", "random")

shared.define_subject_flags()
with cli.flag_group("Work"):
    flags.DEFINE_integer("iterations", 200, "Plans a side.", lower_bound=1)
    flags.DEFINE_integer("draws", 3, "Seeds.", lower_bound=1)
    flags.DEFINE_list("sides", list(SIDES), "Samplers.")
    flags.DEFINE_string("bits", "", "Bit-widths of the blocks.")
    flags.DEFINE_string("sensitivity_file", None, "A file of bin/sensitivity.")
with cli.flag_group("Output"):
    flags.DEFINE_string("json", None, "File that takes the figures.")


def main(arguments):
    """Runs all sides and prints one row each."""
    from tfshrink.evaluation.results import origin
    from tfshrink.evaluation.table import print_table
    from tfshrink.files import write_json
    from tfshrink.search.search import prepare
    from tfshrink.search.sensitivity import Sensitivity
    from tfshrink.search.settings import SearchSettings

    settings = SearchSettings(
        iterations=FLAGS.iterations,
        bits=FLAGS.bits,
        prompts=FLAGS.prompts,
        tokens=FLAGS.tokens,
    )
    problem = prepare(shared.subject_of_flags(), settings)
    if FLAGS.sensitivity_file:
        identity = problem.evaluator.identity
        problem.sensitivity = Sensitivity.load(FLAGS.sensitivity_file, identity)
    rows = [row("all layers equal", [equal(problem)], problem)]
    for name in FLAGS.sides:
        own = dataclasses.replace(settings, sampler=name)
        draws = [records(problem, own, seed) for seed in range(FLAGS.draws)]
        rows.append(row(name, draws, problem))
    print_table(rows, title=f"{FLAGS.draws} seeds")
    if FLAGS.json:
        write_json(FLAGS.json, {"rows": rows, **origin()})


def equal(problem):
    """Records of the plans whose blocks all have one bit-width."""
    found = []
    variables = problem.space.variables
    inside = max(len(one.options) for one in variables)
    outside = len(variables[-1].options)
    for level in range(inside):
        for outer in range(outside):
            point = tuple(
                min(level, len(one.options) - 1)
                if one.place.startswith("block_")
                else outer
                for one in variables
            )
            found.append(problem.record(point))
    return found


def records(problem, settings, seed):
    """What one search finds; plans judged before are not judged again."""
    from tfshrink.search.ledger import Ledger
    from tfshrink.search.pareto import pareto

    problem.settings = dataclasses.replace(settings, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        path = str(pathlib.Path(folder, "study.db"))
        names = settings.objective_names
        problem.join(Ledger(path, "side", {}, names))
        pareto(problem)
        return problem.ledger.records()


def row(name, draws, problem):
    """Means and spreads of a side."""
    from tfshrink.search.front import hypervolume

    most = problem.evaluator.reference_cost["bytes"]
    volumes, sizes = [], []
    for found in draws:
        points = [(one["bytes"] / most, -one["margin"]) for one in found]
        # Margins lie below what a threshold leaves; 2 is more than any.
        volumes.append(hypervolume([(x, y + 1) for x, y in points], (1.0, 2.0)))
        held = [one["bytes"] for one in found if one["satisfied"]]
        sizes.append(min(held) / 1e6 if held else None)
    known = [size for size in sizes if size is not None]
    return {
        "side": name,
        "plans": len(draws[0]),
        "hypervolume": statistics.mean(volumes),
        "spread": statistics.stdev(volumes) if len(volumes) > 1 else 0.0,
        "smallest satisfied, MB": min(known) if known else None,
        "seeds with one": f"{len(known)} of {len(draws)}",
    }


if __name__ == "__main__":
    cli.run(main)
