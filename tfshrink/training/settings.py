"""Everything a training run depends on, with the defaults of the main job."""

import dataclasses

from tfshrink.data.subwords import SMALLEST
from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError
from tfshrink.models.sources.scratch import CONFIGS as SCRATCH
from tfshrink.training.parts import PARTS
from tfshrink.training.schedules import STRATEGIES
from tfshrink.training.styles import STYLES

INITS = ("awq", "blockwise", "gptq", "mse", "rtn")

DTYPES = ("float32", "bfloat16")
PLACES = ("side", "inside")
PRUNING_SCHEDULES = ("constant", "one_shot", "polynomial")
BANK_KINDS = ("none", "codes", "latent")
EXIT_WEIGHTS = ("layer", "learned", "uniform")
CURRICULA = ("gradual", "none", "rotate")
RATE_SCHEDULES = ("cosine", "noam")

# What a setting is that nobody gave: of all styles, and of one.
DEFAULTS = {
    "data": "pydoc+generated",
    "exit_blocks": 1,
    "exits": "",
    "plan": "8;4;2",
    "total_steps": 40,
    "train": "adapters",
}
STYLE_DEFAULTS = {
    "early_exit": {
        "data": "pydoc+docstrings",
        "exits": "auto",
        "plan": "32",
        "total_steps": 160,
        "train": "exits",
    },
}

# The same of models that a run trains from scratch, by what they model.
SCRATCH_DEFAULTS = {"exit_blocks": 0, "plan": "32", "total_steps": 2000}
SCRATCH_TEXT = {True: "gettext", False: "pydoc+docstrings"}  # with an encoder
SCRATCH_PARTS = "embeddings,norms,weights"

# The least value of settings that count something.
LOWEST = {
    "accumulation": 1,
    "batch_size": 1,
    "context": 2,
    "cycles": 1,
    "exit_rows": 8,
    "exit_vocabulary": 0,
    "generated_rows": 1,
    "init_epochs": 1,
    "init_rows": 1,
    "switch_interval": 1,
    "total_steps": 1,
    "vocabulary": SMALLEST,
}

# The flags of `bin/train`, in the order of its help.
FLAG_GROUPS = {
    "Style": {
        "style": ("Which precisions a step trains.", STYLES),
        "switch_strategy": ("Order of --style=switch.", STRATEGIES),
        "switch_interval": "Steps between switches.",
        "bit_pattern": "Bit-widths of one cycle (switch scheduled, cpt).",
        "cycles": "Periods of --style=cpt.",
        "layer_offset": "Steps by which a block of cpt leads the one below.",
        "range_test": "Find the lowest bits of cpt by a precision range test.",
        "static_steps": "Last steps of cpt that train the last plan alone.",
    },
    "Precision": {
        "plan": (
            "Plans to train, split by `;`: 8, stripe-8-4, a list, a file. "
            "Default: 8;4;2; of early_exit, and from scratch, 32."
        ),
        "group": "Inputs per scale at 4 bits and below; 0 is per channel.",
        "ranks": "Adapter rank per width, highest first; 0 is no adapters.",
        "placement": ("Adapters beside or inside the quantizer.", PLACES),
        "bank": ("Codes: shared weights, frozen, or trained.", BANK_KINDS),
        "activations": "8 simulates dynamic int8 activations, 0 is float.",
        "kv": "Codec of the K/V cache to learn to live with, such as pca:4x.",
        "smooth": "Share of input peaks moved into weights first; 0 is none.",
        "pruning_schedule": (
            "How a plan's pruning grows: at once, or over the run.",
            PRUNING_SCHEDULES,
        ),
        "pruning_begin": "Step at which it begins.",
        "pruning_end": "Step at which all is pruned; 0 is 3/4 of the run.",
        "init": ("Where scales and codes start.", INITS),
        "init_rows": "Calibration rows.",
        "init_epochs": "Passes of --init=blockwise over them.",
        "start": "An earlier run's start or final .safetensors, not --init.",
    },
    "Exits": {
        "exits": "Blocks with an exit behind them, as 8,16,24, or auto.",
        "exit_blocks": "Blocks of an exit's own.",
        "exit_rank": "Rank of the light head; 0 takes the full one.",
        "exit_candidates": "Tokens that the light head proposes.",
        "exit_weights": ("Weight of each exit's loss.", EXIT_WEIGHTS),
        "exit_vocabulary": "Tokens, a batch's likeliest, in it; 0 is all.",
        "exit_rows": "Rows that fit light head and classifiers, at the end.",
        "exit_data": "Text that the model continues for the classifiers.",
        "curriculum": ("Which exits a step trains.", CURRICULA),
        "layer_dropout": "Chance that the last block is left out of a step.",
    },
    "From scratch": {
        "dropout": "Share of what blocks add that is dropped.",
        "label_smoothing": "Share of a target that all tokens get alike.",
        "rate_schedule": ("How the learning rate falls.", RATE_SCHEDULES),
        "vocabulary": "Subwords that are learned from the text.",
    },
    "Training": {
        "total_steps": (
            "Steps. Default: 40; of early_exit 160; from scratch 2000."
        ),
        "batch_size": "Rows of a batch.",
        "context": "Tokens of a row.",
        "accumulation": "Batches per update.",
        "train": (
            f"Parts to train, of {','.join(sorted(PARTS))}. Default: adapters; "
            f"of early_exit exits; from scratch {SCRATCH_PARTS}, and exits "
            "where there are some."
        ),
        "learning_rate": "Peak rate of adapters; other parts scale along.",
        "bit_rates": "Scale the learning rate by bits.",
        "distill": "Learn from the full-precision model.",
        "cross_entropy": "Weight of the cross-entropy beside it.",
        "dtype": ("Compute type.", DTYPES),
        "devices": "Devices that share a batch; 0 is all GPUs.",
        "remat": "Recompute activations: less memory, more time.",
        "seed": "Decides order, text and adapters.",
    },
    "Data": {
        "data": (
            "Text: pydoc, generated, a file, a TFDS name; A+B is both. "
            "Default: pydoc+generated; of early_exit, and from scratch, "
            "pydoc+docstrings; to translate, gettext."
        ),
        "limit": "Documents of each text at most.",
        "generated_rows": "Rows the model writes for `generated`.",
    },
    "Judging": {
        "eval_every": "Steps between judgements; 0 is at the end alone.",
        "eval_data": "Text to judge on; pairs, of a run that translates.",
        "checkpoint_minutes": "Minutes between checkpoints.",
        "use_tensorboard": "Write TensorBoard events.",
    },
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Settings of `train`; a field is a flag of `bin/train`.

    Args:
        model: What `--model` takes.
        style: One of `STYLES`.
        plan: Plans to train, split by `;`. Their bit-widths become the
            trained widths. `None`, here and below, is the default of the style
            (`DEFAULTS`, `STYLE_DEFAULTS`).
        group: Inputs per scale at 4 bits and below; 0 is per channel.
        total_steps: Steps of the run.
        batch_size: Rows of a batch.
        context: Tokens of a row.
        accumulation: Batches per update.
        data: Text; `generated` is what the model writes itself, `A+B` both.
        generated_rows: Rows of generated text.
        limit: Documents of each text at most.
        kv: Codec of the K/V cache (`KVSpec.parse`) that older keys and values
            of a row are seen through; gradients pass it. Plans then have it. A
            rate is of 2,048 cached tokens, or the model's limit, unless the
            spec has a `length`. Empty is none.
        smooth: How much of the inputs' peaks moves into the weights before
            `init`, 0 to 1, for int8 inputs; 0 is nothing.
        pruning_schedule: How the pruning of plans that prune grows, one of
            `PRUNING_SCHEDULES`.
        pruning_begin: Step at which it begins.
        pruning_end: Step at which it is as the plan says; 0 is 3/4 of the run.
        init: Where scales and codes start, one of `INITS`.
        init_rows: Calibration rows.
        init_epochs: Passes of `blockwise` over them.
        start: Checkpoint of a run of the same structure (widths, ranks, group,
            bank) to start from, instead of `init`; empty is none.
        train: Parts to train, comma-separated, of `PARTS`.
        exits: Blocks with an exit behind them, counted from 1,
            comma-separated; `auto` spreads four; empty is none.
        exit_blocks, exit_rank, exit_candidates: As in `ExitConfig`.
        exit_weights, curriculum, layer_dropout: As in `ExitLoss`.
        exit_vocabulary: Its `vocabulary`; of models that a run trains from
            scratch it is all.
        exit_rows: Rows that light head and classifiers are fitted to.
        exit_data: Text of which the model continues rows of half a `context`,
            behind their half, for the classifiers; empty is the run's, in
            rows of a `context`.
        dropout, label_smoothing: As in `ScratchLoss`, of models that a run
            trains from scratch.
        rate_schedule: `"cosine"`, or `"noam"`.
        vocabulary: Tokens, of models from scratch.
        learning_rate: Peak rate of adapters; the other parts' rates scale
            along. Of models from scratch, of all.
        ranks: Adapter rank at each trained width, highest first; empty takes
            16, 32, 64 at 8, 4, 2 bits; `0` means no adapters.
        placement: `side` or `inside`.
        bank: `none`, `codes` or `latent`.
        activations: 8 simulates dynamic int8 activations, 0 is float.
        distill: Whether the full-precision model teaches.
        cross_entropy: Weight of the cross-entropy beside it.
        bit_rates: Scale the learning rate by bits.
        switch_strategy, switch_interval, bit_pattern: Of style `switch`
            (the pattern of `cpt` too).
        cycles, layer_offset, range_test, static_steps: Of style `cpt`.
        dtype: Compute type.
        devices: Devices that share a batch; 0 is all GPUs or TPUs.
        remat: Gradient checkpointing.
        seed: Integer >= 0.
        eval_every: Steps between judgements on held-out text; 0 is never.
        eval_data: Text of the final judgement; of a run that translates its
            pairs, where the default is a split of `data`.
        checkpoint_minutes: Minutes between checkpoints.
        use_tensorboard: Whether to write TensorBoard events.
    """

    model: str = "smollm2-135m"
    style: str = "spnet"
    plan: str | None = None
    group: int = 64
    total_steps: int | None = None
    batch_size: int = 8
    context: int = 256
    accumulation: int = 1
    data: str | None = None
    generated_rows: int = 96
    limit: int | None = None
    kv: str = ""
    smooth: float = 0.0
    pruning_schedule: str = "polynomial"
    pruning_begin: int = 0
    pruning_end: int = 0
    init: str = "blockwise"
    init_rows: int = 64
    init_epochs: int = 2
    start: str = ""
    exits: str | None = None
    exit_blocks: int | None = None
    exit_rank: int = 64
    exit_candidates: int = 32
    exit_weights: str = "layer"
    exit_vocabulary: int = 4096
    exit_rows: int = 64
    exit_data: str = ""
    curriculum: str = "none"
    layer_dropout: float = 0.0
    dropout: float = 0.1
    label_smoothing: float = 0.1
    rate_schedule: str = "cosine"
    vocabulary: int = 8000
    train: str | None = None
    learning_rate: float = 1e-3
    ranks: str = ""
    placement: str = "side"
    bank: str = "codes"
    activations: int = 0
    distill: bool = True
    cross_entropy: float = 0.0
    bit_rates: bool = False
    switch_strategy: str = "cyclic"
    switch_interval: int = 10
    bit_pattern: str = ""
    cycles: int = 8
    layer_offset: int = 0
    range_test: bool = False
    static_steps: int = 0
    dtype: str = "bfloat16"
    devices: int = 0
    remat: bool = False
    seed: int = 0
    eval_every: int = 0
    eval_data: str = "pydoc"
    checkpoint_minutes: float = 5.0
    use_tensorboard: bool = True

    def __post_init__(self):
        for name, value in self._defaults().items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        choices = {
            "style": STYLES,
            "curriculum": CURRICULA,
            "exit_weights": EXIT_WEIGHTS,
            "init": INITS,
            "placement": PLACES,
            "bank": BANK_KINDS,
            "pruning_schedule": PRUNING_SCHEDULES,
            "dtype": DTYPES,
            "rate_schedule": RATE_SCHEDULES,
            "switch_strategy": STRATEGIES,
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise unknown_choice(name, getattr(self, name), allowed)
        for name in self.train.split(","):
            if name not in PARTS:
                raise unknown_choice("train", name, PARTS)
        for name, lowest in LOWEST.items():
            if getattr(self, name) < lowest:
                raise UserError(
                    f"`{name}` must be at least {lowest}. "
                    f"Received: {getattr(self, name)}"
                )
        for name in ("dropout", "label_smoothing"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise UserError(
                    f"`{name}` must be at least 0 and below 1. "
                    f"Received: {getattr(self, name)}"
                )
        if not 0.0 <= self.smooth <= 1.0:
            raise UserError(
                f"`smooth` must lie in 0..1. Received: {self.smooth}"
            )
        if self.smooth and (self.init == "awq" or self.start):
            raise UserError(
                "`smooth` goes before an `init` that moves no factors of its "
                f"own. Received: init={self.init}, start={self.start!r}"
            )
        if self.static_steps >= self.total_steps:
            raise UserError(
                f"`static_steps` must be below total_steps, "
                f"{self.total_steps}. Received: {self.static_steps}"
            )
        if self.pruning_end and self.pruning_end <= self.pruning_begin:
            raise UserError(
                "`pruning_end` must come after pruning_begin, "
                f"{self.pruning_begin}. Received: {self.pruning_end}"
            )
        if self.range_test and (self.style != "cpt" or self.bit_pattern):
            raise UserError(
                "`range_test` finds the lowest bits of style cpt's cosine. "
                f"Received: style={self.style}, "
                f"bit_pattern={self.bit_pattern!r}"
            )
        self._check_exits()
        sets_codes = self.init in ("blockwise", "gptq") and not self.start
        if sets_codes and self.bank == "none":
            raise UserError(
                f"`init={self.init}` sets codes and needs `bank=codes` or "
                "`bank=latent`. Received: bank=none"
            )

    def _defaults(self):
        """Values of the settings that are `None`."""
        own = STYLE_DEFAULTS.get(self.style, {})
        if self.model not in SCRATCH:
            return {**DEFAULTS, **own}
        exits = own.get("exits", "") if self.exits is None else self.exits
        return {
            **DEFAULTS,
            "exits": exits,
            "train": SCRATCH_PARTS + (",exits" if exits else ""),
            "data": SCRATCH_TEXT[bool(SCRATCH[self.model].encoder_layers)],
            **SCRATCH_DEFAULTS,
        }

    def _check_exits(self):
        parts = self.train.split(",")
        if ("exits" in parts) != bool(self.exits):
            raise UserError(
                "`exits` must be trained, as --style=early_exit or "
                "--train=exits does, and only where there are some. Received: "
                f"exits={self.exits!r}, train={self.train}"
            )
        if not 0.0 <= self.layer_dropout < 1.0:
            raise UserError(
                "`layer_dropout` must be at least 0 and below 1. "
                f"Received: {self.layer_dropout}"
            )
        if self.layer_dropout and parts == ["exits"]:
            raise UserError(
                "`layer_dropout` must be 0 where blocks are not trained: "
                "--train=weights,exits trains them. "
                f"Received: {self.layer_dropout}"
            )

    @classmethod
    def from_json(cls, values):
        """Settings of the dict of `to_json`.

        Raises:
            TypeError: A field that there is not, or one of another type.
        """
        kinds = {"bool": bool, "float": (int, float), "int": int, "str": str}
        for field in dataclasses.fields(cls):
            value = values.get(field.name, field.default)
            name, _, optional = str(field.type).partition(" | ")
            name = getattr(field.type, "__name__", name)
            fits = isinstance(value, kinds[name])
            if isinstance(value, bool) and name != "bool":
                fits = False
            if not fits and not (optional and value is None):
                raise TypeError(f"{field.name} of {value!r}")
        return cls(**values)

    def to_json(self):
        """Returns a plain dict."""
        return dataclasses.asdict(self)
