"""What exits need before and after their training: a start, and judges."""

import keras
import numpy as np
from keras import ops

from tfshrink.backend import Compiled
from tfshrink.backend import value_and_gradients
from tfshrink.models.exit_states import ExitStates
from tfshrink.models.generation import Generator
from tfshrink.structure import plan_tensor
from tfshrink.training.adam import FusedAdam

RIDGE = 1e-2  # share of the mean power
EPOCHS = 12  # of the classifiers
BATCH = 512  # tokens
AT_ONCE = 32  # rows that are written together
RATE = 2e-3


def start_exits(model, rows, bits=None):
    """Sets exits to what needs no training.

    A block of an exit's own starts as the model's next block, its norm as the
    final one; the matrix behind it by least squares, so that what the head
    reads comes closest to what it reads behind all blocks.

    Args:
        model: Built `Decoder` with exits.
        rows: Integer `(N, T)`, NumPy: text to fit to.
        bits: As `Decoder` takes them.
    """
    layers = model.exits.layers
    for head, layer in zip(model.exit_heads, layers, strict=True):
        last = model.config.layers - 1
        for place, block in enumerate(head.inner, layer):
            _copy(model.blocks[min(place, last)], block)
        _copy(model.final_norm, head.norm)
    width = model.config.width
    own = np.zeros((len(layers), width, width))
    cross = np.zeros_like(own)
    for found in ExitStates(model).states(rows, bits):
        final = found["final"].reshape(-1, width)
        for index, hidden in enumerate(found["hidden"]):
            hidden = hidden.reshape(-1, width)
            own[index] += hidden.T @ hidden
            cross[index] += hidden.T @ final
    for index, head in enumerate(model.exit_heads):
        power = np.trace(own[index]) / width
        damped = own[index] + RIDGE * power * np.eye(width)
        # Shrunk towards the matrix that changes nothing.
        goal = cross[index] + RIDGE * power * np.eye(width)
        head.translate.assign(np.linalg.solve(damped, goal).astype("float32"))


def own_text(model, rows, bits=None, codecs=None):
    """What a model writes behind the first half of rows, greedily.

    Classifiers have to know when an exit is right about such text: along it
    they are wrong about themselves where they only saw what people wrote.

    Args:
        model: Built `Decoder`.
        rows: Integer `(N, T)`, NumPy.
        bits: As `Decoder` takes them.
        codecs: As in `Trainer`.

    Returns:
        Dict: `tokens` int32 `(N, T)`; `mask` float32, of what was written.
    """
    half = rows.shape[1] // 2
    generator = Generator(model, bits=bits, codecs=codecs)
    tokens, mask = np.array(rows, "int32"), np.zeros(rows.shape, "float32")
    for start in range(0, len(rows), AT_ONCE):
        own = slice(start, start + AT_ONCE)
        made = generator.generate(
            rows[own, :half].tolist(),
            max_new_tokens=rows.shape[1] - half,
            temperature=0.0,
        )
        for index, row in enumerate(made, start):
            stop = half + len(row)
            tokens[index, half:stop] = row
            mask[index, half:stop] = 1.0
    return {"tokens": tokens, "mask": mask}


def fit_exits(model, settings, plans, text, codecs=None, own=None):
    """Fits the light head, then each exit's classifier, on text.

    Args:
        model: Built `Decoder` with trained exits.
        settings: `TrainSettings`.
        plans: Plans of the run; the first one's bits are used.
        text: `Examples` that the exits were not trained on, or a list of
            batches: dicts of `tokens`, `mask` and, of an encoder-decoder,
            `source` and `source_mask`.
        codecs: As in `Trainer`.
        own: Of `own_text`: what classifiers are fitted to instead; `None` is
            the text.

    Returns:
        Dict: `recall`, the share of tokens, an exit, that the light head
        proposes among those the exit's full head would choose; `agreement`,
        how often an exit says what the last layer says.
    """
    batches = text
    if not isinstance(text, list):
        batches = [{"tokens": text.tokens, "mask": text.mask}]
    bits = plan_tensor(model.config, plans[0])
    runner, width = ExitStates(model, codecs), model.config.width
    kernel = np.asarray(ops.cast(model.head_kernel(bits), "float32"))
    hidden = np.concatenate(
        [_hidden(runner, batch, bits) for batch in batches], axis=1
    )  # (exits, tokens, C)
    if model.light_head is not None:
        last = np.concatenate([_last(runner, own, bits) for own in batches])
        read = np.concatenate([hidden.reshape(-1, width), last])
        model.light_head.fit(kernel, read)
    if own is not None:
        batches = [own]
        hidden = _hidden(runner, own, bits)
    said = [_said(runner, batch, bits) for batch in batches]
    token, right = (
        np.concatenate(own, axis=1) for own in zip(*said, strict=True)
    )
    for index, head in enumerate(model.exit_heads):
        fit_classifier(head, hidden[index], right[index], seed=settings.seed)
    return {
        "recall": [
            _recall(own, kernel, said)
            for own, said in zip(hidden, token, strict=True)
        ],
        "agreement": right.mean(axis=1).tolist(),
        "tokens": int(right[0].size),
    }


def _hidden(runner, batch, bits):
    """What the head reads at exits `(exits, tokens, C)`, where it counts."""
    rows, sources = batch["tokens"][:, :-1], _sources(batch)
    found = [x["hidden"] for x in runner.states(rows, bits, sources)]
    return np.concatenate(found, axis=1)[:, batch["mask"][:, 1:] > 0]


def _last(runner, batch, bits):
    """What the head reads behind all blocks `(tokens, C)`, the same."""
    rows, sources = batch["tokens"][:, :-1], _sources(batch)
    found = [x["final"] for x in runner.states(rows, bits, sources)]
    return np.concatenate(found)[batch["mask"][:, 1:] > 0]


def _said(runner, batch, bits):
    """Tokens of exits, and whether they are the last layer's, in the same."""
    said = runner.said(batch["tokens"], bits, _sources(batch))
    right = said["token"] == said["last_token"]
    counted = batch["mask"][:, 1:] > 0
    return said["token"][:, counted], right[:, counted]


def _sources(batch):
    return {k: batch[k] for k in ("source", "source_mask") if k in batch}


def fit_classifier(head, hidden, right, *, seed=0):
    """Trains the part of an exit that says how sure it is.

    Args:
        head: `ExitHead`.
        hidden: `(N, C)`, NumPy, what it made of some text.
        right: Boolean `(N,)`: whether its token was the full model's.
        seed: Of the order.
    """
    rng = np.random.default_rng(seed)
    width, inner = head.narrow.shape
    spread = 1.0 / np.sqrt(width * np.mean(np.square(hidden)) + 1e-12)
    head.narrow.assign(rng.normal(0, spread, (width, inner)))
    head.narrow_bias.assign(np.zeros(inner))
    head.judge.assign(np.zeros((inner, 1)))
    share = np.clip(right.mean(), 1e-3, 1 - 1e-3)
    head.judge_bias.assign([np.log(share / (1.0 - share))])
    variables = [head.narrow, head.narrow_bias, head.judge, head.judge_bias]
    optimizer = FusedAdam(RATE, name="classifier")
    optimizer.build(variables)

    def step(hidden, right):
        def loss():
            sure = head.sure(ops.cast(hidden, head.compute_dtype))
            sure = ops.sigmoid(sure)
            return keras.losses.binary_crossentropy(right, sure), ()

        value, _, gradients = value_and_gradients(loss, variables)
        optimizer.apply(gradients, variables)
        return value

    compiled = Compiled(step, variables + optimizer.variables)
    right = right.astype("float32")
    size = min(BATCH, len(hidden))
    for _ in range(EPOCHS):
        order = rng.permutation(len(hidden))
        for start in range(0, len(order) - size + 1, size):
            own = order[start : start + size]
            compiled(hidden[own], right[own])


def _recall(hidden, kernel, token):
    """How often candidates hold what the full head would choose."""
    hidden, token = hidden[:2048], token[:2048]
    best = (hidden @ kernel.T).argmax(-1)
    return float((best == token).mean())


def _copy(source, target):
    """Values of a layer into one of the same kind without precision."""
    values = {_below(v, source): v for v in source.variables}
    for variable in target.variables:
        variable.assign(values[_below(variable, target)])


def _below(variable, layer):
    return variable.path.split(f"{layer.name}/", 1)[1]
