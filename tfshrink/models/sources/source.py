"""What every source of a decoder offers."""

import abc


class Source(abc.ABC):
    """A place a decoder's config, weights and tokenizer come from.

    Attributes:
        name: What the user called it, for tables and results.
        config: The `DecoderConfig`; reading it touches no weights.
        identity: Dict with `name` and `revision` or `sha256`, which
            distinguishes two checkpoints in results and hashes.
    """

    name: str
    scratch = False  # whether a run teaches it all it knows

    @property
    @abc.abstractmethod
    def config(self):
        """The `DecoderConfig` of the checkpoint."""

    @property
    @abc.abstractmethod
    def identity(self):
        """Dict of strings that tells this checkpoint from any other."""

    @abc.abstractmethod
    def weights(self):
        """Yields `(canonical name, float32 array)`, one tensor at a time.

        The names and shapes are those of `weight_shapes(self.config)`, in
        that order. Kernels are (inputs, outputs).

        Raises:
            UserError: A tensor is missing, misshapen or unreadable.
        """

    @abc.abstractmethod
    def tokenizer(self):
        """Returns a `transformers.PreTrainedTokenizerFast`."""
