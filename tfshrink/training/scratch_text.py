"""What a model from scratch learns: text or pairs, and its subwords."""

import dataclasses

import numpy as np

from tfshrink.data.batches import Batches
from tfshrink.data.documents import load_documents
from tfshrink.data.pack import pack
from tfshrink.data.pack import tokenize
from tfshrink.data.pair_batches import LENGTHS
from tfshrink.data.pair_batches import PairBatches
from tfshrink.data.pair_batches import tokenize_pairs
from tfshrink.data.subwords import train_subwords
from tfshrink.data.translation import load_pairs
from tfshrink.errors import UserError


@dataclasses.dataclass(frozen=True)
class ScratchText:
    """The text of a run, before and after it has a tokenizer.

    Args:
        settings: `TrainSettings`.
        encoder: Whether the model translates.
        train: Documents, or pairs.
        held: The same, which fit light head and classifiers.
    """

    settings: object
    encoder: bool
    train: list
    held: list

    @classmethod
    def load(cls, settings, config):
        """Reads what `data` names.

        Raises:
            UserError: `data` names no such text.
        """
        load = load_pairs if config.encoder_layers else load_documents
        train, held = (
            load(settings.data, split, settings.limit)
            for split in ("train", "calibrate")
        )
        if not train:
            raise UserError(
                f"`data` must hold text to train on. Received: {settings.data}"
            )
        return cls(settings, bool(config.encoder_layers), train, held or train)

    def subwords(self):
        """Learns a `tokenizers.Tokenizer` from the text to train on."""
        texts = self.train
        if self.encoder:
            texts = [text for pair in texts for text in pair]
        return train_subwords(texts, vocabulary_size=self.settings.vocabulary)

    def batches(self, tokenizer, config, part="train"):
        """Step-indexed batches of `tokens`, `mask` and, of pairs, the source.

        Args:
            tokenizer: Of `subwords`, as `transformers` has it.
            config: `DecoderConfig`.
            part: `"train"` or `"held"`.
        """
        settings, special = self.settings, (0, config.bos, config.eos[0])
        texts = getattr(self, part)
        if not self.encoder:
            length = min(settings.context, config.context)
            rows = tokenize(texts, tokenizer)
            rows = pack(rows, length, separator=config.eos[0])
            return Batches(
                rows, batch_size=settings.batch_size, seed=settings.seed
            )
        return TranslationBatches(
            PairBatches(
                *tokenize_pairs(texts, tokenizer),
                special=special,
                seed=settings.seed,
                lengths=[n for n in LENGTHS if n < config.context],
                tokens_per_batch=settings.batch_size * settings.context,
            )
        )


@dataclasses.dataclass(frozen=True)
class TranslationBatches:
    """`PairBatches` as a decoder's text, with the source beside it."""

    pairs: PairBatches

    def __len__(self):
        """Batches in an epoch."""
        return len(self.pairs)

    def at(self, step):
        """The batch of a step.

        Args:
            step: Integer >= 0.

        Returns:
            `tokens` int32 `(B, T + 1)`, which begin with the start token;
            `mask` float32, of each token as a target; `source` and
            `source_mask`, as `PairBatches` has them.
        """
        found = self.pairs.at(step)
        start = found["target_in"][:, :1]
        mask = found["target_mask"]
        return {
            "tokens": np.concatenate([start, found["target_out"]], axis=1),
            "mask": np.concatenate([np.zeros_like(mask[:, :1]), mask], axis=1),
            "source": found["source"],
            "source_mask": found["source_mask"],
        }
