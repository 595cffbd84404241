"""A simulated plan as the harness sees it."""

import numpy as np
from keras import ops

from tfshrink.evaluation.harness.bar import harness_bar
from tfshrink.evaluation.harness.language_model import LanguageModel
from tfshrink.evaluation.squad import batches_by_length
from tfshrink.models.prompts import prompt_bucket
from tfshrink.models.walk import EMPTY

CHUNK = 16  # new tokens between two looks for a stop string


def plan_model(judge, bits=None):
    """The `LanguageModel` of a plan.

    Args:
        judge: `Judge`; its codecs, if any, hold keys and values.
        bits: As `Decoder` takes them; `None` for full precision.
    """
    scorer = judge.meter.scorer(bits)
    config, size = judge.model.config, judge.protocol.batch_size

    def score(rows):
        with harness_bar(judge.material, len(rows)) as show:
            return score_rows(scorer, rows, size, config.context, show)

    def proceed(prompts, *asked):
        judge.generator.bits = bits
        with harness_bar(judge.material, len(prompts)) as show:
            return _proceed(judge.generator, size, show, prompts, *asked)

    return LanguageModel(
        judge.material.tokenizer,
        config,
        score=score,
        proceed=proceed,
        window=judge.protocol.context,
    )


def score_rows(scorer, rows, batch_size, limit, show):
    """Scores token lists of any lengths in few shapes.

    Rows are padded on the right, which no token in front of it sees.

    Args:
        scorer: Function of `(B, T)` tokens to `(nats, ranks)`, `(B, T - 1)`.
        rows: Token lists.
        batch_size: B.
        limit: T at most.
        show: Called with the rows and tokens that are done.

    Returns:
        A pair of `(T - 1,)` arrays for each row.
    """
    found = [None] * len(rows)
    done = tokens = 0
    for places in batches_by_length(rows, batch_size):
        width = min(prompt_bucket(len(rows[places[0]])), limit)
        batch = np.zeros((batch_size, width), "int32")
        for own, place in zip(batch, places, strict=True):
            own[: len(rows[place])] = rows[place]
        outputs = [ops.convert_to_numpy(x) for x in scorer(batch)]
        for place, nats, ranks in zip(places, *outputs, strict=True):
            count = len(rows[place]) - 1
            found[place] = nats[:count], ranks[:count]
        done += len(set(places))
        tokens += batch.size
        show(done, tokens)
    return found


def _proceed(generator, size, show, prompts, count, stopped, settings):
    """Continues prompts in batches, each until all of it has stopped."""
    found = [[] for _ in prompts]
    done = tokens = 0
    for places in batches_by_length(prompts, size):
        made = [[] for _ in places]
        own = [prompts[place] for place in places]
        for new, _ in generator.steps(own, count, CHUNK, settings):
            for row, values in zip(made, new, strict=True):
                row += values[values != EMPTY].tolist()
            # A row that has met its stop token makes nothing more.
            over = new[:, -1] == EMPTY
            pairs = zip(made, over, strict=True)
            if all(end or stopped(row) for row, end in pairs):
                break
        for place, row in zip(places, made, strict=True):
            found[place] = row
        done += len(set(places))
        tokens += sum(map(len, made))
        show(done, tokens)
    return found
