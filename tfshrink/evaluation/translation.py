"""Translations of a run's model, and how good they are."""

import pathlib
import time

import numpy as np
from keras import ops

from tfshrink import backend
from tfshrink.data.pair_batches import LENGTHS
from tfshrink.data.pair_batches import source_rows
from tfshrink.data.progress_bar import progress_bar
from tfshrink.data.translation import load_pairs
from tfshrink.errors import UserError
from tfshrink.evaluation.results import build_results
from tfshrink.evaluation.translation_metrics import translation_scores
from tfshrink.models.load import weight_variables
from tfshrink.models.run import open_run
from tfshrink.structure import plan_tensor

BATCH = 32  # sources at once
LIMIT = 500  # pairs that are judged


class Translator:
    """Translates texts with an encoder-decoder.

    Sources go in batches of one length (padded to a bucket), so that few
    shapes are compiled.

    Args:
        model: Built `EncoderDecoder`.
        tokenizer: Its tokenizer.
        bits: As `Decoder` takes them, or `None`.
        exits: `ExitSpec` by which target tokens leave early, or `None`.
        beams: Hypotheses of a beam; 1 is greedy.
        batch: Sources at once. With exits all of a batch go as deep as the
            deepest of them.

    Attributes:
        depths: Of the last call, a list a text: blocks that each token ran.
    """

    def __init__(
        self, model, tokenizer, *, bits=None, exits=None, beams=1, batch=BATCH
    ):
        from tfshrink.models.beam_search import BeamSearch
        from tfshrink.models.generation import Generator

        if beams > 1 and exits is not None:
            raise UserError(
                "`beams` must be 1 with exits: hypotheses of a beam would "
                f"leave together. Received: {beams}"
            )
        self.model = model
        self.tokenizer = tokenizer
        self.batch = batch
        self.depths = []
        self.search = self.generator = None
        if beams > 1:
            self.search = BeamSearch(model, bits=bits, beams=beams)
        else:
            self.generator = Generator(model, bits=bits, exits=exits)

    def __call__(self, texts, progress=None):
        """Translates a list of texts; the list of translations."""
        rows = self.tokenizer(list(texts))["input_ids"] if texts else []
        longest = self.model.config.context - 1
        lengths = [n for n in LENGTHS if n <= longest]
        for index, row in enumerate(rows):
            if len(row) >= lengths[-1]:
                raise UserError(
                    f"`source` must have at most {lengths[-1] - 1} tokens. "
                    f"Received: {len(row)}, number {index + 1}"
                )
        found = [None] * len(rows)
        self.depths = [[] for _ in rows]
        buckets = {n: [] for n in lengths}
        for index, row in enumerate(rows):
            buckets[next(n for n in lengths if len(row) < n)].append(index)
        done = 0
        for length, members in buckets.items():
            for start in range(0, len(members), self.batch):
                own = members[start : start + self.batch]
                # A batch that is not full is filled up: one shape a length.
                full = own + [own[0]] * (self.batch - len(own))
                made, depths = self._translate(
                    [rows[i] for i in full], length, min(2 * length, longest)
                )
                for place, index in enumerate(own):
                    found[index] = made[place]
                    self.depths[index] = depths[place]
                done += len(own)
                if progress:
                    progress(done, 0)
        return self.tokenizer.batch_decode(found, skip_special_tokens=True)

    def _translate(self, rows, length, count):
        config = self.model.config
        sources = source_rows(rows, length, pad=0, end=config.eos[0])
        if self.search is not None:
            return self.search.translate(sources, count), [[]] * len(rows)
        made = self.generator.generate(
            [[config.bos]] * len(rows),
            max_new_tokens=count,
            sources=sources,
            temperature=0.0,
        )
        return made, self.generator.depths


def target_nats(model, batches, bits=None):
    """Mean surprise at the targets of pairs, in nats a token.

    Args:
        model: Built `EncoderDecoder`.
        batches: List of dicts, as `TranslationBatches.at` makes them.
        bits: As `Decoder` takes them.
    """

    def nats(batch, bits):
        tokens, mask = batch["tokens"], batch["mask"][:, 1:]
        logits = model(
            tokens[:, :-1],
            bits,
            source=batch["source"],
            source_mask=batch["source_mask"],
        )
        gold = ops.take_along_axis(logits, tokens[:, 1:, None], axis=-1)
        own = ops.logsumexp(logits, axis=-1) - gold[..., 0]
        return ops.sum(own * mask), ops.sum(mask)

    compiled = backend.Compiled(nats, model.variables)
    sums = np.array(
        [[float(x) for x in compiled(batch, bits)] for batch in batches]
    )
    total, count = sums.sum(axis=0)
    return total / count


def judge_run(workdir, *, limit=LIMIT, beams=(1, 4)):
    """Judges a run that translates, on pairs it never saw.

    Args:
        workdir: Run folder.
        limit: Pairs, at most.
        beams: Widths of the beam, each a row.

    Returns:
        Dict as `results.json` holds it: a row of `plans` for each plan and
        beam, with `translation_scores` and `seconds`.
    """
    from tfshrink.training.scratch_text import ScratchText
    from tfshrink.training.settings import TrainSettings

    start = time.monotonic()
    run = open_run(workdir)
    config = run.source.config
    settings = TrainSettings(**run.config["settings"])
    pairs = load_pairs(settings.data, "test", limit)
    longest = max(n for n in LENGTHS if n < config.context)
    pairs = [
        pair
        for pair in pairs
        if len(run.tokenizer(pair[0])["input_ids"]) < longest
    ]
    text = ScratchText(settings, True, pairs, pairs)
    batches = text.batches(run.tokenizer, config)
    batches = [batches.at(i) for i in range(batches.pairs.steps_per_epoch)]
    sources, targets = zip(*pairs, strict=True)
    perplexity = float(np.exp(target_nats(run.model, batches)))
    size = 2 * sum(int(np.prod(v.shape)) for v in weight_variables(run.model))
    rows = []
    for plan in run.plans:
        bits = plan_tensor(config, plan)
        own = float(np.exp(target_nats(run.model, batches, bits)))
        for width in beams:
            began = time.monotonic()
            translator = Translator(
                run.model, run.tokenizer, bits=bits, beams=width
            )
            with progress_bar("Translating", len(sources)) as progress:
                made = translator(sources, progress)
            scores = translation_scores(made, list(targets))
            rows.append(
                {
                    "name": plan.name,
                    "plan": plan.to_json(),
                    "perplexity": own,
                    "beams": width,
                    **scores,
                    "seconds": time.monotonic() - began,
                    "examples": [
                        list(x)
                        for x in zip(sources, made, targets, strict=True)
                    ][:8],
                }
            )
    return build_results(
        run.source.name,
        {"perplexity": perplexity, "bytes": size},
        rows,
        seconds=time.monotonic() - start,
        task="translation",
        data=settings.data,
        run=pathlib.Path(workdir).name,
    )
