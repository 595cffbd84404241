"""A frozen decoder as a LiteRT file."""

from tfshrink.deploy.litert.containers import native_bits
from tfshrink.deploy.litert.decoder_graph import DecoderGraphs
from tfshrink.deploy.litert.flat_model import FlatModel
from tfshrink.deploy.litert.session import DECODE
from tfshrink.deploy.litert.session import FIRST_COLUMNS
from tfshrink.deploy.litert.session import HEAD
from tfshrink.deploy.litert.session import PREFILL
from tfshrink.errors import UserError

TOKENS = 32  # of a prefill as it lies in the file; calls choose their own


def write_litert(decoder, path):
    """Writes a file with the graphs that a `Session` runs.

    Args:
        decoder: `FrozenDecoder`.
        path: File to write.

    Returns:
        Bytes written.
    """
    file = FlatModel()
    graphs = DecoderGraphs(file, decoder)
    graphs.add(DECODE, 1, FIRST_COLUMNS)
    graphs.add(PREFILL, TOKENS, FIRST_COLUMNS)
    graphs.add_head(HEAD, TOKENS)
    with open(path, "wb") as target:
        return file.save(target)


def check_litert(plan):
    """Raises a `UserError` for what a LiteRT file cannot hold.

    Args:
        plan: `Plan`.
    """
    for name, advice in (
        ("kv", "its cache is exact"),
        ("exit", "every token runs all blocks"),
    ):
        if getattr(plan, name):
            raise UserError(
                f"`plan` {plan.name} must not set {name} for "
                f"--format=litert: {advice}. Received: {getattr(plan, name)}"
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
