"""Texts in one language to texts in another."""

import numpy as np

from tfshrink.data.pair_batches import LENGTHS
from tfshrink.data.pair_batches import source_rows
from tfshrink.errors import UserError

BATCH = 32  # sources at once


class Translator:
    """Translates texts with an encoder-decoder.

    Sources go in batches of one length (padded to a bucket), so that few
    shapes are compiled.

    Args:
        model: Built `EncoderDecoder`.
        tokenizer: Its tokenizer.
        bits: As `Decoder` takes them, or `None`. The attribute may be set
            anew.
        exits: `ExitSpec` by which target tokens leave early, or `None`.
        beams: Hypotheses of a beam; 1 is greedy.
        batch: Sources at once. With exits all of a batch go as deep as the
            deepest of them.

    Attributes:
        depths: Of the last call, a list a text: blocks that each token ran;
            empty of a beam.

    Raises:
        UserError: `beams` is below 1, or above 1 with exits.

    Example:
        >>> Translator(run.model, run.tokenizer, beams=4)(["No such file"])
        ['Nu există un astfel de fișier']
    """

    def __init__(
        self, model, tokenizer, *, bits=None, exits=None, beams=1, batch=BATCH
    ):
        from tfshrink.models.beam_search import BeamSearch
        from tfshrink.models.generation import Generator

        if beams < 1:
            raise UserError(f"`beams` must be at least 1. Received: {beams}")
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
            self.search = BeamSearch(model, beams=beams)
        else:
            self.generator = Generator(model, exits=exits)
        self.bits = bits

    @property
    def bits(self):
        """Bits of the layer groups, or `None`."""
        return (self.search or self.generator).bits

    @bits.setter
    def bits(self, bits):
        (self.search or self.generator).bits = bits

    def __call__(self, texts, progress=None):
        """Translates a list of texts.

        Args:
            texts: List of strings; an empty one is translated, too.
            progress: Called with the texts that are done, and 0.

        Returns:
            List of strings.

        Raises:
            UserError: A text is too long; its number is named.
        """
        rows = self.tokenizer(list(texts))["input_ids"] if texts else []
        longest = self.model.config.context - 1
        buckets = {}
        for index, row in enumerate(rows):
            length = source_length(row, self.model.config, index + 1)
            buckets.setdefault(length, []).append(index)
        found = [None] * len(rows)
        self.depths = [[] for _ in rows]
        done = 0
        for length, members in sorted(buckets.items()):
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


def source_lengths(config):
    """Lengths that sources are padded to: those that targets have, too.

    Args:
        config: `DecoderConfig` of an encoder-decoder.
    """
    return [length for length in LENGTHS if length < config.context]


def source_length(row, config, number=1):
    """The shortest length with room for a source and its end.

    Args:
        row: Token list.
        config: `DecoderConfig`.
        number: Of the source, for the error.

    Raises:
        UserError: There is none.
    """
    lengths = source_lengths(config)
    place = np.searchsorted(lengths, len(row) + 1)
    if place == len(lengths):
        raise UserError(
            f"`source` must have at most {lengths[-1] - 1} tokens. "
            f"Received: {len(row)}, number {number}"
        )
    return lengths[place]


def one_source(row, config):
    """A token list as `Generator` takes it beside one prompt.

    Args:
        row: Token list.
        config: `DecoderConfig`.

    Raises:
        UserError: It is too long.
    """
    length = source_length(row, config)
    return source_rows([row], length, pad=0, end=config.eos[0])
