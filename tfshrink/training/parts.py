"""The trainable parts of a switchable model."""

from tfshrink.errors import unknown_choice

# Each part: a test of a variable's path below the blocks.
PARTS = {
    "adapters": lambda path: "/adapters/" in path,
    "latents": lambda path: path.endswith("/quantizer/bank"),
    "norms": lambda path: "norm/" in path,
    "scales": lambda path: path.endswith("_scales"),
    "weights": lambda path: path.endswith(("/kernel", "/bias")),
}


def part_variables(model, parts):
    """Picks the variables of the blocks that a run trains.

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
        if "block_" not in variable.path and "final_norm" not in variable.path:
            continue
        for name in parts:
            if PARTS[name](variable.path):
                chosen[name].append(variable)
    return {name: variables for name, variables in chosen.items() if variables}
