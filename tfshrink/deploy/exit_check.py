"""An export's exits beside those of the model it was made of."""

import numpy as np

from tfshrink.deploy.exit_rule import ExitRule
from tfshrink.deploy.litert.exit_session import ExitSession


def compare_exits(model, path, spec, tokens, bits):
    """Takes a text through the exits of a file and of its model.

    Args:
        model: Built `Decoder` with exits.
        path: The `.tflite` file.
        spec: `ExitSpec` with its layers.
        tokens: Token ids of a text, two at least.
        bits: As `Decoder` takes them.

    Returns:
        Dict: `blocks a token`, those that the file ran in the mean; `same
        through exits`, the share of tokens for which both left behind the same
        block with the same successor.
    """
    wanted = list(_of_model(model, spec, tokens, bits))
    found = list(_of_file(model, path, spec, tokens[:-1]))
    same = [own == other for own, other in zip(found, wanted, strict=True)]
    return {
        "blocks a token": float(np.mean([depth for _, depth in found])),
        "same through exits": float(np.mean(same)),
    }


def _of_file(model, path, spec, tokens):
    """Successor and depth of each token, one after the other."""
    session = ExitSession(path, model.config.to_json(), spec)
    session.begin(len(tokens))
    for token in tokens:
        yield int(session.step(int(token)).argmax()), session.depth


def _of_model(model, spec, tokens, bits):
    """The same of the model, which runs all blocks at once."""
    from tfshrink.models.exit_states import ExitStates

    said = ExitStates(model).said(np.array([tokens]), bits)
    exits = [model.exits.layers.index(layer) for layer in spec.layers]
    rule, waits = ExitRule(spec, len(exits)), 0
    rule.begin(len(tokens) - 1)
    for place in range(len(tokens) - 1):
        found = int(said["last_token"][0, place]), model.config.layers
        for index, own in enumerate(exits if waits + 1 < spec.pending else ()):
            sure, gap = (
                float(said[name][own, 0, place])
                for name in (spec.confidence, "margin")
            )
            if rule.leaves(index, sure, gap):
                found = int(said["token"][own, 0, place]), spec.layers[index]
                break
        left = found[1] < model.config.layers
        waits = waits + 1 if left else 0
        rule.made(left)
        yield found
