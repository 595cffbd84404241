"""The properties that a requirement is made of."""

from tfshrink.stl import formula as stl


def properties(formula):
    """The parts of a conjunction, named after what they speak of.

    Args:
        formula: `Formula`.

    Returns:
        Dict of name to `Formula`; one that is no conjunction is its only part.
    """
    parts = formula.children if isinstance(formula, stl.And) else (formula,)
    found = {}
    for part in parts:
        name = "_".join(part.signals())
        count = 2
        while name in found:
            name = f"{name.removesuffix(f'_{count - 1}')}_{count}"
            count += 1
        found[name] = part
    return found
