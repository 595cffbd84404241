"""Where tokens of a trace would leave under a policy, and what that costs."""

import dataclasses

import numpy as np

from tfshrink.errors import UserError
from tfshrink.exit_policy import ExitPolicy
from tfshrink.exit_spec import GAIN
from tfshrink.ops import confidence
from tfshrink.ops.exit_policy import chance_to_leave

BINS = 8  # of the position in the text made


def chosen_exits(trace, spec, total=None):
    """Number of the exit that each token takes, E where it takes none.

    Args:
        trace: `ExitTrace`.
        spec: `ExitSpec`; of `missing="verify"`, where it would draft.
        total: Tokens that are to be made; default: the most that were.

    Returns:
        int32 `(N, T)`.

    Raises:
        UserError: The spec does not fit the exits, or asks what a trace does
            not know.
    """
    used = spec.layers_of(trace.layers)
    if spec.confidence == "cosine" and len(used) != len(trace.layers):
        raise UserError(
            "`exit` cosine must use all exits of the model here: it compares "
            f"the states of neighbours. Received: {spec}"
        )
    thresholds = np.array(spec.thresholds_of(trace.layers), "float32")
    limits = np.broadcast_to(
        thresholds[:, None, None], trace.token.shape
    ).astype("float32")
    if spec.schedule == "decay":
        fallen = np.exp(-spec.rate * trace.shares(total))
        limits = limits * (spec.floor + (1 - spec.floor) * fallen)
    sure = sure_of(trace, spec, total)
    clear = np.ones(sure.shape, bool)
    if spec.margin:
        clear = trace.confidence["margin"] >= spec.margin
    clear = clear & (thresholds < 1.0)[:, None, None]
    lazy = spec.missing == "lazy"
    if spec.schedule != "dynamic" and not lazy:
        return _first(clear & (sure > limits))
    return _token_by_token(trace, spec, sure, limits, clear, lazy)


def sure_of(trace, spec, total=None):
    """The confidence of a policy in each exit's token.

    Args:
        trace: `ExitTrace`.
        spec: `ExitSpec`; of the confidence `"policy"`, its file is read.
        total: As in `chosen_exits`.

    Returns:
        float32 `(E, N, T)`.

    Raises:
        UserError: A learned policy of other exits, or no such file.
    """
    policy = ExitPolicy.of_spec(spec)
    if policy is None:
        return trace.confidence[spec.confidence]
    policy.check(spec.layers_of(trace.layers))
    share = trace.shares(total)
    return np.stack(
        [
            np.asarray(
                chance_to_leave(
                    policy,
                    {name: trace.confidence[name][i] for name in policy.reads},
                    i,
                    share,
                )
            )
            for i in range(len(trace.layers))
        ]
    )


def _token_by_token(trace, spec, sure, limits, clear, lazy):
    """Choices that depend on earlier ones: a target, tokens that may wait."""
    exits, rows, length = sure.shape
    found = np.full((rows, length), exits, "int32")
    shift, waiting = np.zeros(rows, "float32"), np.zeros(rows, "int32")
    gain = GAIN if spec.schedule == "dynamic" else 0.0
    for column in range(length):
        limit = limits[:, :, column]
        if gain:
            limit = np.clip(limit + shift, 0.0, 0.9999)
        own = _first(clear[:, :, column] & (sure[:, :, column] > limit))
        if lazy:
            own = np.where(waiting + 1 < spec.pending, own, exits)
        made, left = trace.made[:, column], own < exits
        found[:, column] = own
        waiting = np.where(made & left, waiting + 1, 0)
        if gain:
            moved = shift + gain * (left - spec.target)
            shift = np.where(made, np.clip(moved, -1.0, 1.0), shift)
    return found


def _first(leaves):
    """Index of the first exit that is left at, E for none."""
    return np.where(
        leaves.any(axis=0), leaves.argmax(axis=0), len(leaves)
    ).astype("int32")


@dataclasses.dataclass(frozen=True)
class ExitCost:
    """Weights that the parts of a decoder with exits read for a token.

    At batch 1 a decoder waits for memory: what a token costs is what is read.
    Tokens that wait for a deeper layer go along with the one that needs it.

    Args:
        blocks: One block.
        test: What one exit's test reads, before any token is proposed.
        propose: What proposing a token reads.
        head: The full head, final norm aside.
        written: Keys and values of one block.
        depth: Blocks of the model.
        layers: Blocks with an exit behind them.
    """

    blocks: int
    test: int
    propose: int
    head: int
    written: int
    depth: int
    layers: tuple

    @classmethod
    def of(cls, model):
        """Counts the matrices of a built `Decoder` with exits."""
        config, exits = model.config, model.exits
        block = _weights(model.blocks[0])
        inner = sum(map(_weights, model.exit_heads[0].inner))
        width, head = config.width, config.vocabulary * config.width
        propose = head
        if exits.rank:
            propose = exits.rank * (width + config.vocabulary)
            propose += exits.candidates * width
        test = inner + width * width + width * exits.hidden
        written = 2 * width * config.kv_heads * config.head_dim
        return cls(
            block, test, propose, head, written, config.layers, exits.layers
        )

    @property
    def full(self):
        """What a token of the full model reads."""
        return self.depth * self.blocks + self.head

    def read(self, spec):
        """What a token reads that leaves at exit 0, 1, ... or at none.

        Args:
            spec: `ExitSpec`.

        Returns:
            float64 `(E + 1,)`.
        """
        used = spec.layers_of(self.layers)
        found = self.read_at(reads_logits(spec), used, spec.head)
        return found + self._propagated(spec)

    def read_at(self, of_logits, used=None, head="full"):
        """As `read`; the perceptron of a learned policy is not counted.

        Args:
            of_logits: Whether every test scores candidates.
            used: Layers that are tested behind; `None` is all.
            head: As in `ExitSpec`.
        """
        tests, proposals = asked(self.layers, of_logits, used)
        if head == "light":
            proposals = proposals + np.eye(len(proposals), dtype="int64")[-1]
        depths = np.array([*self.layers, self.depth], "float64")
        found = depths * self.blocks
        found += tests * self.test + proposals * self.propose
        if head == "full":
            found[-1] += self.head
        return found

    def _propagated(self, spec):
        """What is read to make up keys and values of skipped blocks."""
        if spec.missing != "propagate":
            return 0
        return self.written * (
            self.depth - np.array([*self.layers, self.depth])
        )

    def tests(self, spec):
        """What tests alone read of it, float64 `(E + 1,)`."""
        depths = np.array([*self.layers, self.depth])
        bare = depths * self.blocks
        bare[:-1] += 0 if reads_logits(spec) else self.propose
        bare[-1] += self.propose if spec.head == "light" else self.head
        bare += self._propagated(spec)
        return self.read(spec) - bare


def _weights(block):
    """Weights that a block reads for a token.

    Keys and values of a source are made once, whatever is said of it.
    """
    cross = getattr(block, "cross", None)
    once = [] if cross is None else [cross.key, cross.value]
    return sum(
        int(np.prod(layer.kernel.shape))
        for members in block.groups().values()
        for layer in members
        if not any(layer is own for own in once)
    )


def asked(exits, of_logits, used=None):
    """What a token asks that leaves at exit 0, 1, ... or at none.

    Args:
        exits: Blocks with an exit behind them, E numbers.
        of_logits: Whether every test scores candidates.
        used: Those that are tested behind; `None` is all.

    Returns:
        `(tests, proposals)`: how many of each, integers `(E + 1,)`.
    """
    used = exits if used is None else used
    tests = np.cumsum([layer in used for layer in exits])
    tests = np.append(tests, tests[-1])
    # Without logits in the test, candidates are for what leaves.
    leaving = np.append(np.ones(len(exits), "int64"), 0)
    return tests, tests if of_logits else leaving


def reads_logits(spec):
    """Whether a test of an `ExitSpec` reads logits of candidates."""
    policy = ExitPolicy.of_spec(spec)
    learned = policy is not None and policy.reads_logits
    return bool(
        learned or spec.confidence in confidence.OF_LOGITS or spec.margin
    )


def summary(trace, spec, cost, total=None, followed=None):
    """What a policy does to a trace.

    Args:
        trace: `ExitTrace`.
        spec: `ExitSpec`.
        cost: `ExitCost`.
        total: As in `chosen_exits`.
        followed: `(exits, right)` of `followed`, of a policy that a trace
            does not know.

    Returns:
        Dict: `agreement` with the full model, `exit_rate`, mean `layers` and
        `saved_layers` (share), `weights_read` of the full model's, `tests`
        (what exit tests alone read of that), `by_layer` (share of tokens
        by depth), `by_position` (mean layers over the text made),
        `perplexity_ratio` at the text's next tokens (`None` of what was
        followed), `tokens`.
    """
    if followed is None:
        exits = chosen_exits(trace, spec, total)
    else:
        exits, right = followed
    made, count = trace.made, len(trace.layers)
    own = exits[made]
    depths = np.array([*trace.layers, trace.depth])
    layers = depths[own]

    def at(every):
        return np.take_along_axis(every, exits[None], axis=0)[0][made]

    ratio = None
    if followed is None:
        right = at(trace.rights(spec.head))
        nats = at(np.concatenate([trace.nats, trace.last_nats[None]]))
        ratio = float(np.exp(nats.mean() - trace.last_nats[made].mean()))
    else:
        right = right[made]
    share = trace.step[made] / (trace.step[made].max() + 1)
    places = np.minimum((share * BINS).astype(int), BINS - 1)
    read = cost.read(spec)[own]
    return {
        "exit": str(spec),
        "agreement": float(right.mean()),
        "exit_rate": float((own < count).mean()),
        "layers": float(layers.mean()),
        "saved_layers": float(1.0 - layers.mean() / trace.depth),
        "weights_read": float(read.mean() / cost.full),
        "tests": float(cost.tests(spec)[own].mean() / cost.full),
        "by_layer": {
            str(depth): float((own == index).mean())
            for index, depth in enumerate(depths)
        },
        "by_position": [
            float(layers[places == i].mean()) if (places == i).any() else None
            for i in range(BINS)
        ],
        "perplexity_ratio": ratio,
        "tokens": int(made.sum()),
    }
