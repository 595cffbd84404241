"""Exits of a model that translates, judged on pairs."""

import dataclasses

import numpy as np

from tfshrink.data.pair_batches import source_rows
from tfshrink.data.pair_batches import tokenize_pairs
from tfshrink.data.prompts import Prompts
from tfshrink.data.translation import load_pairs
from tfshrink.data.translation import pairs_identity
from tfshrink.errors import UserError
from tfshrink.evaluation.translation import judged_data
from tfshrink.evaluation.translation_metrics import translation_scores
from tfshrink.evaluation.translator import source_lengths
from tfshrink.exits.study import OpenExits
from tfshrink.models.generation import Generator


@dataclasses.dataclass(frozen=True)
class OpenTranslation(OpenExits):
    """An `ExitSubject` whose prompts are a start token beside a source."""

    def prompts(self, split, count=None):
        """`Prompts` of a split, with their sources.

        Raises:
            UserError: No source is short enough.
        """
        pairs = self._pairs(split, count)
        config = self.source.config
        longest = source_lengths(config)[-1]
        rows, targets = tokenize_pairs(pairs, self.source.tokenizer())
        kept = [i for i, row in enumerate(rows) if len(row) < longest]
        if not kept:
            raise UserError(
                f"`data` must hold a source of at most {longest - 1} tokens. "
                f"Received: {len(rows)}, longer all"
            )
        tokens = np.full((len(kept), 1), config.bos, "int32")
        gold = np.array([(targets[i].tolist() or [-1])[0] for i in kept])
        return Prompts(
            tokens,
            np.ones(len(kept), "int32"),
            gold.astype("int32")[:, None],
            tuple(str(i) for i in kept),
            pairs_identity(pairs),
            source_rows(
                [rows[i] for i in kept], longest, pad=0, end=config.eos[0]
            ),
        )

    def quality(self, prompts, spec):
        """BLEU and chrF of greedy translations, one at a time."""
        generator = Generator(self.model, bits=self.bits, exits=spec)
        made = []
        for index, row in enumerate(prompts.tokens):
            made += generator.generate(
                [row.tolist()],
                max_new_tokens=self.subject.new,
                sources=prompts[index : index + 1].sources,
                temperature=0.0,
            )
        pairs = self._pairs("test")
        targets = [pairs[int(name)][1] for name in prompts.names]
        texts = self.source.tokenizer().batch_decode(
            made, skip_special_tokens=True
        )
        return translation_scores(texts, targets)

    def results(self, **values):
        """As `OpenExits` has it, with the pairs that were read."""
        return super().results(**{"data": self._data(), **values})

    def _data(self):
        return judged_data(self.subject.workdir, self.subject.data)

    def _pairs(self, split, count=None):
        return load_pairs(self._data(), split, count or self.subject.prompts)
