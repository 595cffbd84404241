"""A frozen decoder as a LiteRT file."""

from tfshrink.deploy.litert.coded_cache import check_kv
from tfshrink.deploy.litert.coded_columns import KV
from tfshrink.deploy.litert.containers import native_bits
from tfshrink.deploy.litert.decoder_graph import DecoderGraphs
from tfshrink.deploy.litert.exact_columns import STEP
from tfshrink.deploy.litert.exit_graph import ExitGraphs
from tfshrink.deploy.litert.flat_model import FlatModel
from tfshrink.deploy.litert.session import DECODE
from tfshrink.deploy.litert.session import HEAD
from tfshrink.deploy.litert.session import PREFILL
from tfshrink.errors import UserError

TOKENS = 32  # of a prefill as it lies in the file; calls choose their own


def write_litert(decoder, path, cache=None, exits=None):
    """Writes a file with the graphs that a `Session` runs.

    With exits it holds those of an `ExitSession` too, of the same weights.

    Args:
        decoder: `FrozenDecoder`.
        path: File to write.
        cache: `CodedCache`, or `None` for an exact one, as exits need it.
        exits: `FrozenExits`, or `None`.

    Returns:
        Bytes written.
    """
    file = FlatModel()
    if cache is not None:
        file.attach(KV, cache.attached())
    graphs = DecoderGraphs(file, decoder, cache)
    graphs.add(DECODE, 1, STEP)
    graphs.add(PREFILL, TOKENS, STEP)
    graphs.add_head(HEAD, TOKENS)
    if exits is not None:
        ExitGraphs(graphs, exits).add(TOKENS, STEP)
    with open(path, "wb") as target:
        return file.save(target)


def check_litert(plan, config):
    """Raises a `UserError` for what a LiteRT file cannot hold.

    Args:
        plan: `Plan`.
        config: `DecoderConfig`.
    """
    check_kv(plan, config)
    if plan.exit:
        raise UserError(
            f"`plan` {plan.name} must not set exit for --format=litert: "
            f"--exit of bin/export does. Received: {plan.exit}"
        )


def litert_notes(decoder):
    """What ships wider than the plan says, as a list of texts.

    Args:
        decoder: `FrozenDecoder`.
    """
    notes = {}
    for dense in decoder.weights().values():
        if dense.scale is not None:
            inputs, groups = dense.codes.shape[1], dense.scale.shape[1]
            native = native_bits(dense.bits, inputs, groups)
            if native != dense.bits:
                notes[dense.bits] = f"{dense.bits} bits in int{native}"
    pruned = ["zeros are stored like all"] if decoder.plan.pruning else []
    return [notes[bits] for bits in sorted(notes)] + pruned
