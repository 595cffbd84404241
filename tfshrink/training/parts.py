"""The trainable parts of a switchable model."""

from tfshrink.errors import unknown_choice
from tfshrink.layer_groups import ENCODER
from tfshrink.layer_groups import EXIT

# Each part: a test of a variable's path. Embeddings aside, it lies in a block,
# in an encoder, in the final norm or in an exit.
PARTS = {
    "adapters": lambda path: "/adapters/" in path,
    "embeddings": lambda path: path.endswith(("/table", "head/kernel")),
    "exits": lambda path: f"/{EXIT}" in path,
    "latents": lambda path: path.endswith("/quantizer/bank"),
    "norms": lambda path: "norm/" in path,
    "scales": lambda path: path.endswith("_scales"),
    "weights": lambda path: path.endswith(("/kernel", "/bias")),
}


def part_variables(model, parts):
    """Picks the variables that a run trains.

    Args:
        model: Built `Decoder`.
        parts: Names from `PARTS`.

    Returns:
        Part name to its list of trainable variables. A part the model lacks
        (latents without a bank) is left out.
    """
    for name in parts:
        if name not in PARTS:
            raise unknown_choice("parts", name, PARTS)
    chosen = {name: [] for name in parts}
    for variable in model.trainable_variables:
        path = variable.path
        exits = PARTS["exits"](path)
        inside = any(x in path for x in ("block_", "final_norm", f"/{ENCODER}"))
        outside = not exits and not inside
        for name in parts:
            if outside != (name == "embeddings"):
                continue
            if PARTS[name](path) and exits == (name == "exits"):
                chosen[name].append(variable)
    return {name: variables for name, variables in chosen.items() if variables}
