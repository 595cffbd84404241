"""Where a decoder has exits, and what they are made of."""

import dataclasses

from tfshrink.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExitConfig:
    """Structure of the exits; changing it means a new compile.

    Args:
        layers: Numbers of blocks behind which there is an exit, rising,
            counted from 1.
        blocks: Blocks of an exit's own between the state and the norm: 0
            reads the token off the state as it is.
        rank: Rank of the light head that finds candidates; 0 takes the full
            head.
        candidates: Tokens K that the light head proposes, which the full
            head's rows then score.
        hidden: Inner width of the learned classifier.
    """

    layers: tuple
    blocks: int = 1
    rank: int = 64
    candidates: int = 32
    hidden: int = 64

    def __post_init__(self):
        object.__setattr__(self, "layers", tuple(self.layers))
        sizes = {"layers": self.layers}
        sizes |= {name: (getattr(self, name),) for name in LEAST}
        for name, values in sizes.items():
            if any(type(value) is not int for value in values):
                raise UserError(
                    f"`exit_{name}` must be of integers. Received: {values}"
                )
        if not self.layers or list(self.layers) != sorted(set(self.layers)):
            raise UserError(
                "`exits` must be numbers of blocks that rise. "
                f"Received: {self.layers}"
            )
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise UserError(
                    f"`exit_{name}` must be at least {least}. "
                    f"Received: {getattr(self, name)}"
                )

    @classmethod
    def parse(cls, text, config, **values):
        """Reads `"8,16,24"`, or `"auto"`, for a `DecoderConfig`.

        Args:
            text: Numbers of blocks; `auto` spreads four evenly.
            config: `DecoderConfig`.
            **values: Of the config.
        """
        if text == "auto":
            spread = range(1, SPREAD + 1)
            layers = {config.layers * i // (SPREAD + 1) for i in spread}
            layers = tuple(sorted(layers - {0}))
            if not layers:
                raise UserError(
                    "`exits` needs a model of at least 2 blocks. "
                    f"Received: {config.name} with {config.layers}"
                )
        else:
            try:
                layers = tuple(int(part) for part in text.split(","))
            except ValueError:
                raise UserError(
                    "`exits` must be numbers of blocks such as 8,16,24, or "
                    f"auto. Received: {text!r}"
                ) from None
        found = cls(layers=layers, **values)
        found.check(config)
        return found

    def check(self, config):
        """Raises a `UserError` unless the exits fit a `DecoderConfig`."""
        for index in self.layers:
            if not 1 <= index < config.layers:
                raise UserError(
                    "`exits` must lie between 1 and "
                    f"{config.layers - 1}, behind blocks of {config.name}. "
                    f"Received: {index}"
                )
        if self.rank >= config.width:
            raise UserError(
                f"`exit_rank` must be below the width of {config.width}; 0 "
                f"takes the full head. Received: {self.rank}"
            )
        if self.candidates > config.vocabulary:
            raise UserError(
                "`exit_candidates` must be at most the vocabulary of "
                f"{config.vocabulary} tokens. Received: {self.candidates}"
            )

    def to_json(self):
        """Returns a plain dict that `from_json` accepts."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values):
        """Builds a config from the dict of `to_json`."""
        return cls(**values)


SPREAD = 4  # exits of `auto`
LEAST = {"blocks": 0, "rank": 0, "candidates": 3, "hidden": 1}
