"""How good the translations of a run are."""

import os
import time

import numpy as np
from keras import ops

from tfshrink import backend
from tfshrink.data.pair_batches import PairBatches
from tfshrink.data.pair_batches import tokenize_pairs
from tfshrink.data.progress_bar import progress_bar
from tfshrink.data.translation import load_pairs
from tfshrink.data.translation import pairs_identity
from tfshrink.errors import UserError
from tfshrink.evaluation.candidate import run_candidates
from tfshrink.evaluation.results import build_results
from tfshrink.evaluation.results import write_results
from tfshrink.evaluation.size import reference_bytes
from tfshrink.evaluation.translation_metrics import translation_scores
from tfshrink.evaluation.translator import BATCH
from tfshrink.evaluation.translator import source_lengths
from tfshrink.evaluation.translator import Translator
from tfshrink.models.plain_decoder import check_plain_decoder
from tfshrink.models.run import read_run
from tfshrink.structure import plan_tensor

TEXT = "pydoc"  # what `--data` is when nobody names it: no pairs
LIMIT = 500  # pairs that are judged
BEAMS = (1, 4)
SHOWN = 8  # translations that results keep


def evaluate_translation(candidates, protocol, *, json=None, dry_run=False):
    """What `bin/evaluate` makes of a run that translates.

    Args:
        candidates: The one `Candidate`.
        protocol: `Protocol`, of which data, limit and dtype count.
        json: File that takes the results; `None` is the run folder.
        dry_run: Judges few pairs, writes nothing.

    Returns:
        As `judge_translation`.

    Raises:
        UserError: Several runs, or something asked of text alone.
    """
    one = candidates[0]
    if len(candidates) > 1:
        raise UserError(
            "`workdir` must be one run where it translates. Received: "
            + ", ".join(one.name for one in candidates)
        )
    if one.workdir is None:
        one.source.tokenizer()  # says which run it takes
    if any(plan.kv for plan in one.plans):
        check_plain_decoder(one.source.config, "kv")
    if protocol.tasks != ("perplexity",):
        raise UserError(
            "`tasks` must be perplexity, beside which BLEU and chrF stand, of "
            f"a run that translates. Received: {','.join(protocol.tasks)}"
        )
    found = judge_translation(
        one,
        data=protocol.data,
        limit=BATCH if dry_run else protocol.limit,
        dtype=protocol.dtype,
    )
    if not dry_run:
        path = json or os.path.join(one.workdir, "results.json")
        write_results(path, found)
    return found


def judge_run(workdir):
    """Judges the plans that a run was trained on; see `judge_translation`."""
    return judge_translation(run_candidates([workdir])[0])


def judge_translation(
    candidate, *, data=TEXT, limit=None, beams=BEAMS, dtype="float32"
):
    """Judges a run that translates, on pairs it never saw.

    Args:
        candidate: `Candidate` of the run.
        data: Pairs, as `load_pairs` takes them; `TEXT` is what the run says.
        limit: Pairs, at most; `None` is `LIMIT`.
        beams: Widths of the beam, each a row.
        dtype: Compute type.

    Returns:
        Dict as `results.json` holds it: a row of `plans` for each plan and
        beam, with `plan_cost`, `perplexity` of the targets,
        `translation_scores`, `seconds` and a few `examples`.

    Raises:
        UserError: No pair is short enough.
    """
    start = time.monotonic()
    config, tokenizer = candidate.source.config, candidate.source.tokenizer()
    data = judged_data(candidate.workdir, data)
    pairs = _short(load_pairs(data, "test", limit or LIMIT), config, tokenizer)
    model = candidate.load(dtype)
    perplexity = perplexity_meter(model, _batches(pairs, config, tokenizer))
    translators = {n: Translator(model, tokenizer, beams=n) for n in beams}
    sources, targets = (list(side) for side in zip(*pairs, strict=True))
    rows = []
    for plan in candidate.plans:
        bits = plan_tensor(config, plan)
        found = {
            "name": plan.name,
            "run": candidate.name,
            "plan": plan.to_json(),
            **candidate.cost(plan, config.context),
            "perplexity": perplexity(bits),
        }
        for width, translator in translators.items():
            began = time.monotonic()
            translator.bits = bits
            with progress_bar("Translating", len(sources)) as progress:
                made = translator(sources, progress)
            scores = translation_scores(made, targets)
            seconds = time.monotonic() - began
            shown = zip(sources[:SHOWN], made, targets, strict=False)
            shown = {"examples": [list(own) for own in shown]}
            more = {"beams": width, **scores, "seconds": seconds, **shown}
            rows.append({**found, **more})
    return build_results(
        candidate.source.name,
        {"perplexity": perplexity(None), "bytes": reference_bytes(config)},
        rows,
        seconds=time.monotonic() - start,
        task="translation",
        data=data,
        text=pairs_identity(pairs),
        run=candidate.name,
    )


def judged_data(workdir, data=TEXT):
    """The pairs that a run is judged on.

    Args:
        workdir: Its folder.
        data: What was asked for.

    Returns:
        `data`, unless it is the default, which names no pairs; else the
        run's `eval_data`, by the same rule; else what it was trained on, of
        which `load_pairs` holds a split out.
    """
    settings = read_run(workdir)[0]["settings"]
    names = data, settings["eval_data"], settings["data"]
    return next(name for name in names if name != TEXT)


def perplexity_meter(model, batches):
    """Makes a function of bits to a model's perplexity of targets.

    Args:
        model: Built `EncoderDecoder`.
        batches: List of batches, as `PairBatches.at` makes them.
    """

    def nats(batch, bits):
        sources = {name: batch[name] for name in ("source", "source_mask")}
        logits = model(batch["target_in"], bits, **sources)
        gold = batch["target_out"][..., None]
        gold = ops.take_along_axis(logits, gold, axis=-1)[..., 0]
        own = ops.logsumexp(logits, axis=-1) - gold
        return ops.sum(own * batch["target_mask"])

    compiled = backend.Compiled(nats, model.variables)
    count = sum(batch["target_mask"].sum() for batch in batches)

    def perplexity(bits):
        total = sum(float(compiled(batch, bits)) for batch in batches)
        return float(np.exp(total / count))

    return perplexity


def _short(pairs, config, tokenizer):
    """The pairs whose source the model can read."""
    longest = source_lengths(config)[-1]
    rows = tokenizer([source for source, _ in pairs])["input_ids"]
    kept = [
        pair
        for pair, row in zip(pairs, rows, strict=True)
        if len(row) < longest
    ]
    if not kept:
        raise UserError(
            f"`data` must hold a source of at most {longest - 1} tokens. "
            f"Received: {len(pairs)}, longer all"
        )
    return kept


def _batches(pairs, config, tokenizer):
    own = PairBatches(
        *tokenize_pairs(pairs, tokenizer),
        special=(0, config.bos, config.eos[0]),
        seed=0,
        lengths=source_lengths(config),
        shuffle=False,
    )
    return [own.at(step) for step in range(own.steps_per_epoch)]
