"""bin/generate's work on an export: one prompt, or a conversation."""

import numpy as np

from tfshrink.deploy.runtime import Runtime
from tfshrink.deploy.sampling import Sampling


def generate(
    prompt,
    show,
    *,
    artifact,
    threads=None,
    max_new_tokens=128,
    stop=(),
    **sampling,
):
    """Continues a prompt with an export and shows the text as it comes.

    Args:
        prompt: Text; empty begins with the model's start token.
        show: Called with each piece of text.
        artifact: Folder of bin/export.
        threads: Of a call; `None` takes all cores.
        max_new_tokens: New tokens at most; fewer where the context ends.
        stop: Texts that end the continuation.
        **sampling: Fields of `Sampling`.

    Returns:
        Dict of the prompt, the text, how many tokens were made, seconds to
        the first of them and to the end, tokens/s from the first one on;
        `exit`, the policy of an export whose tokens leave early, or `None`,
        and `layers`, the blocks that a token of it ran, in the mean.

    Raises:
        UserError: Anything the arguments got wrong.
    """
    options = {
        "sampling": Sampling(**sampling),
        "max_new_tokens": max_new_tokens,
        "stop": stop,
    }
    runtime = Runtime(artifact, threads=threads)
    text = _shown(runtime.stream(prompt, **options), show)
    depths, leaves = runtime.depths, runtime.metadata.get("exit")
    return {
        "prompt": prompt,
        "text": text,
        **speed(runtime.times),
        "exit": leaves,
        "layers": float(np.mean(depths)) if depths and leaves else None,
    }


def converse(
    lines,
    show,
    *,
    artifact,
    threads=None,
    max_new_tokens=512,
    stop=(),
    **sampling,
):
    """A conversation: each line is answered, the whole of it is the prompt.

    Args:
        lines: Iterable of what the user says.
        show: Called with each piece of the answers, and a line break behind
            each answer.
        artifact: Folder of bin/export.
        threads: Of a call; `None` takes all cores.
        max_new_tokens: Tokens of an answer at most.
        stop: Texts that end an answer.
        **sampling: Fields of `Sampling`.

    Raises:
        UserError: Anything the arguments got wrong, or a conversation that
            outgrew the context.
    """
    options = {
        "sampling": Sampling(**sampling),
        "max_new_tokens": max_new_tokens,
        "stop": stop,
    }
    runtime = Runtime(artifact, threads=threads)
    runtime.chat([{"role": "user", "content": ""}])  # before anyone types
    messages = []
    for line in lines:
        messages.append({"role": "user", "content": line})
        prompt = runtime.chat(messages)
        answer = _shown(runtime.stream(prompt, **options), show)
        show("\n")
        messages.append({"role": "assistant", "content": answer})


def speed(times):
    """What the `times` of a `Runtime` say of its last text."""
    start, *made = times
    later = made[-1] - made[0] if len(made) > 1 else 0.0
    return {
        "tokens": len(made),
        "first_seconds": made[0] - start if made else 0.0,
        "seconds": made[-1] - start if made else 0.0,
        "tokens_per_second": (len(made) - 1) / later if later else None,
    }


def _shown(pieces, show):
    """Shows pieces of text as they come; returns them as one."""
    text = ""
    for piece in pieces:
        text += piece
        show(piece)
    return text
