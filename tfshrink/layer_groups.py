"""Names of the layer groups that a plan gives bits to, in model order."""

BLOCK_GROUPS = ("attention_in", "attention_out", "mlp_in", "mlp_out")
ENCODER = "encoder_"  # begins the names of an encoder's layers
EXIT = "exit_"  # begins the names of exits, and of what they share


def block_name(index, layers):
    """`block_07`: two digits, three from 100 blocks on."""
    digits = 3 if layers >= 100 else 2
    return f"block_{index:0{digits}d}"


def group_names(layers, tied=True):
    """Names of a decoder's layer groups, in model order.

    Args:
        layers: Number of blocks.
        tied: Whether head and embedding are one group.

    Returns:
        A tuple such as `("block_00/attention_in", ..., "embedding")`.
    """
    names = [
        f"{block_name(index, layers)}/{group}"
        for index in range(layers)
        for group in BLOCK_GROUPS
    ]
    return (*names, "embedding") if tied else (*names, "embedding", "head")
