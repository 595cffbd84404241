"""search's work: from a model or a run to a front of plans."""

import contextlib
import dataclasses
import pathlib
import time

from tfshrink.data.progress_bar import progress_bar
from tfshrink.errors import UserError
from tfshrink.run_folder import RunFolder
from tfshrink.search.findings import write_findings
from tfshrink.search.global_pruning import global_levels
from tfshrink.search.greedy import greedy
from tfshrink.search.ledger import Ledger
from tfshrink.search.pareto import pareto
from tfshrink.search.problem import Problem
from tfshrink.search.progressive import progressive
from tfshrink.search.scores import score_functions
from tfshrink.search.sensitivity import FILE
from tfshrink.search.sensitivity import Sensitivity
from tfshrink.search.space import SearchSpace
from tfshrink.search.space import WHOLE

METHODS = {"greedy": greedy, "pareto": pareto, "progressive": progressive}
STUDY = "study.db"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Where:
    """Where a search keeps what it finds.

    Args:
        results_dir: Its folder; `None` is the next `runs/search-<n>`.
        storage: SQLite file or URL of the study; `None` is a file in there. A
            study that is there already is joined: several processes may.
        study_name: Name of the study in it.
        output_csv: A further copy of `front.csv`, or `None`.
        overwrite: Replaces the search that is there.
        resume: Continues the search that is there.
    """

    results_dir: str | None = None
    storage: str | None = None
    study_name: str = "search"
    output_csv: str | None = None
    overwrite: bool = False
    resume: bool = False


def search(
    subject,
    settings,
    where,
    *,
    sensitivity_file=None,
    skip_sensitivity=False,
):
    """Searches for plans that satisfy the requirement at the least cost.

    Args:
        subject: `Subject`.
        settings: `SearchSettings`.
        where: `Where`.
        sensitivity_file: A file of bin/sensitivity; `None` takes the one in the
            run folder, or measures.
        skip_sensitivity: Does without: fewer bits count as more damage.

    Returns:
        `(results, folder)`: the dict of `results.json`, and the folder.

    Raises:
        UserError: Anything the arguments got wrong, before anything is
            written where that can be known.
    """
    start = time.monotonic()
    problem = prepare(subject, settings)
    known = None
    if not skip_sensitivity:
        known = _known_sensitivity(subject, problem.evaluator, sensitivity_file)
    identity = {
        **problem.evaluator.identity,
        "settings": {**settings.to_json(), "iterations": None, "seed": None},
    }
    if settings.exit:  # their order is measured: levels must mean the same
        order = problem.space.options("exit")
        identity["exits"] = [str(spec) for spec in order]

    def ledger(storage):
        return Ledger(
            storage,
            where.study_name,
            identity,
            settings.objective_names,
            resume=where.resume or where.storage is not None,
        )

    # What cannot be read is said before there is a folder.
    shared = ledger(where.storage) if where.storage else None
    folder = RunFolder(
        where.results_dir,
        name="search",
        overwrite=where.overwrite,
        resume=where.resume,
    )
    config = {
        "model": subject.model if not subject.workdir else None,
        "run": subject.workdir,
        "subject": dataclasses.asdict(subject),
        "settings": settings.to_json(),
        "identity": identity,
    }
    if not where.resume:  # else the study says first whether it is the same
        folder.write("config.json", config)
    problem.join(shared or ledger(str(folder.path / STUDY)))
    problem.shared = where.storage is not None
    folder.write("config.json", config)
    if not skip_sensitivity and known is None:
        known = _measured(problem, folder)
    problem.sensitivity = known
    _measure_alone(problem)
    tokens = int(problem.evaluator.prompts.lengths.sum())
    with progress_bar(settings.method, settings.iterations) as show:
        problem.progress = lambda done: show(done, done * tokens)
        METHODS[settings.method](problem)
    seconds = time.monotonic() - start
    return write_findings(problem, folder, where, seconds), str(folder.path)


def prepare(subject, settings):
    """The `Problem` of a subject, without a ledger yet."""
    inside, outside = subject.trained_widths()
    bits = settings.widths("bits", inside)
    outer = settings.widths("embedding_bits", outside)
    candidate = subject.candidate(_structure(settings, sorted({*bits, *outer})))
    whole = settings.kv or settings.exit
    more = ("kl",) if "kl" in settings.objective_names or whole else ()
    own = dataclasses.replace(
        subject, prompts=settings.prompts, tokens=settings.tokens
    )
    evaluator = own.evaluator(
        candidate, more=more, kv_length=settings.kv_length
    )
    kv, exits = settings.kv_specs, settings.exit_specs
    for spec in kv:
        evaluator.codecs.check(spec.to_json())
    for spec in exits:
        evaluator.exits.check(spec and spec.to_json())
    if exits:  # which all of them share
        evaluator(evaluator.uniform(16), keep=True)
    kv = _least_compressed_first(evaluator, "kv", kv, "kv_bytes")
    exits = _least_compressed_first(evaluator, "exit", exits, "read_bytes")
    scope = None
    if settings.pruning_scope == "global":
        scope = lambda level: global_levels(evaluator.model, level)  # noqa: E731
    space = SearchSpace(
        candidate.source.config,
        bits,
        outer,
        pruning=settings.pruning_levels,
        scope=scope,
        structured=settings.structured,
        kv=kv,
        exits=exits,
    )
    return Problem(
        evaluator, space, settings, scores=score_functions(evaluator, settings)
    )


def _structure(settings, widths):
    """Plans that need all that the search may ask of the model."""
    removing = ":heads=.5:channels=.5" if settings.structured else ""
    return ";".join(f"{bits}{removing}" for bits in widths)


def _alone(evaluator, kind, spec):
    """The plan of full precision with a K/V codec, or with an exit policy."""
    own = {kind: spec and spec.to_json()}
    return dataclasses.replace(evaluator.uniform(16), **own)


def _least_compressed_first(evaluator, kind, specs, cost):
    """K/V codecs, or exit policies, by what they cost, the most first."""
    return sorted(
        specs,
        key=lambda spec: -evaluator.cost(_alone(evaluator, kind, spec))[cost],
    )


def _measure_alone(problem):
    """What each K/V codec and exit policy costs by itself, in nats."""
    space, evaluator = problem.space, problem.evaluator
    for kind in WHOLE:
        space.alone[kind] = [
            max(0.0, evaluator(_alone(evaluator, kind, spec)).means["kl"])
            for spec in space.options(kind)
        ]


def _known_sensitivity(subject, evaluator, path):
    """The `Sensitivity` of a file, or `None` where none was named or found."""
    if path is None:
        path = pathlib.Path(subject.workdir or ".") / FILE
        if not path.exists():
            return None
        with contextlib.suppress(UserError):  # of another model, then
            return Sensitivity.load(path, evaluator.identity)
        return None
    return Sensitivity.load(path, evaluator.identity)


def _measured(problem, folder):
    """Measures the bits that the search may choose."""
    from tfshrink.search.sweep import changes
    from tfshrink.search.sweep import sweep

    path = folder.path / FILE
    if path.exists():  # of the search that is resumed
        return Sensitivity.load(path, problem.evaluator.identity)
    widths = sorted(
        {
            bits
            for one in problem.space.variables
            if one.kind == "bits"
            for bits in one.options
        },
        reverse=True,
    )
    levels = [(p, "unstructured") for p in problem.settings.pruning_levels]
    evaluator = problem.evaluator.measuring("kl")
    total = len(list(changes(evaluator.uniform(16).names, widths, levels)))
    tokens = int(evaluator.prompts.lengths.sum())
    with progress_bar("sensitivity", total) as show:
        found = sweep(
            evaluator,
            widths,
            levels,
            progress=lambda done: show(done, done * tokens),
        )
    found.save(path)
    return found


def predicted_seconds(subject, settings):
    """How long a search will take, from one plan that is judged."""
    problem = prepare(subject, settings)
    evaluator = problem.evaluator
    most = {kind: problem.space.options(kind)[-1:] for kind in WHOLE}
    kv, exit = (own[0].to_json() if any(own) else None for own in most.values())
    codecs = evaluator.codecs(kv)
    exits = exit and evaluator.exits(exit, evaluator.model)
    evaluator.judge.measure(None, codecs, exits)  # compiles
    start = time.monotonic()
    evaluator.judge.measure(None, codecs, exits)
    once = time.monotonic() - start
    bits = [v.options for v in problem.space.variables if v.kind == "bits"]
    widths = {b for options in bits for b in options}
    sweep = 0.6 * len(problem.space.groups) * len(widths) * once
    return {
        "variables": len(problem.space),
        "prompts": len(evaluator.prompts),
        "seconds_a_plan": once,
        "sensitivity_seconds": sweep,
        "search_seconds": settings.iterations * once,
    }
