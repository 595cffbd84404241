"""Lets the heads and channels that stay do what the removed ones did."""

import contextlib

import numpy as np

_DAMPING = 0.01  # of the mean diagonal, added to the diagonal


@contextlib.contextmanager
def absorbing(runner, states):
    """The scratch block with kernels that make up for what is removed.

    The two kernels that read removed inputs change, so that codes can be made
    of them; afterwards they are the source's again, which a checkpoint does not
    hold.

    Args:
        runner: `BlockRunner` with a block loaded.
        states: What goes into the block, `(N, T, C)`.

    Yields:
        Name of each layer group to how many of its inputs stay, where some go.
    """
    counts = runner.kept_inputs()
    moments = runner.hessians(states) if counts else {}
    kernels = {name: runner.block.groups()[name][0].kernel for name in counts}
    before = {name: np.array(kernel) for name, kernel in kernels.items()}
    for name, kernel in kernels.items():
        kernel.assign(absorbed(moments[name], before[name], counts[name]))
    yield counts
    for name, kernel in kernels.items():
        kernel.assign(before[name])


def absorbed(moment, kernel, count):
    """The kernel of the first inputs that is best at the outputs of all.

    Least squares: the rows that stay get what they can predict of the others.

    Args:
        moment: Mean of `x x^T` of the inputs, `(inputs, inputs)`.
        kernel: `(inputs, outputs)`.
        count: How many inputs stay.

    Returns:
        `(inputs, outputs)`; the rows that go are as they were.

    Reference: the closed form of Optimal Brain Surgeon for several weights,
    Hassibi and Stork, 1992.
    """
    from scipy import linalg

    moment = np.array(moment, "float64")
    own, other = moment[:count, :count], moment[:count, count:]
    own[np.diag_indices(count)] += _DAMPING * np.mean(np.diag(own)) + 1e-12
    change = linalg.solve(own, other @ kernel[count:], assume_a="pos")
    out = np.array(kernel)
    out[:count] += change
    return out
