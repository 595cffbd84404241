"""A perceptron in NumPy, its gradients by hand: small enough for no graph."""

import numpy as np

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class Perceptron:
    """One hidden layer of tanh, one number out, trained by Adam.

    Args:
        inputs: F.
        hidden: Width of the hidden layer.
        rng: NumPy's `Generator`, of the first weights; the last layer starts
            at zero.

    Attributes:
        weights: float64 `(F, hidden)`, `(hidden,)`, `(hidden, 1)`, `(1,)`.

    Reference: Kingma & Ba, Adam, 1412.6980, algorithm 1.
    """

    def __init__(self, inputs, hidden, rng):
        self.weights = [
            rng.normal(0.0, 1.0 / np.sqrt(inputs), (inputs, hidden)),
            np.zeros(hidden),
            np.zeros((hidden, 1)),
            np.zeros(1),
        ]
        self._means = [np.zeros_like(own) for own in self.weights]
        self._powers = [np.zeros_like(own) for own in self.weights]
        self._steps = 0

    def __call__(self, x):
        """Output `(...)` of inputs `(..., F)`."""
        return self._last(self._hidden(x))

    def gradients(self, x, slope):
        """Slopes of a loss at all weights.

        Args:
            x: Inputs `(N, F)`.
            slope: `(N,)`, the loss's slope at each output.

        Returns:
            List of arrays, shaped as `weights`.
        """
        hidden = self._hidden(x)
        slope = slope[:, None]
        inner = slope * self.weights[2].T * (1.0 - hidden**2)
        return [x.T @ inner, inner.sum(0), hidden.T @ slope, slope.sum(0)]

    def descend(self, gradients, rate):
        """Takes one step of Adam at a learning rate."""
        self._steps += 1
        first = 1.0 - BETA_1**self._steps
        second = 1.0 - BETA_2**self._steps
        for weight, mean, power, slope in zip(
            self.weights, self._means, self._powers, gradients, strict=True
        ):
            mean += (1.0 - BETA_1) * (slope - mean)
            power += (1.0 - BETA_2) * (slope**2 - power)
            root = np.sqrt(power / second) + EPSILON
            weight -= rate * (mean / first) / root

    def _hidden(self, x):
        return np.tanh(x @ self.weights[0] + self.weights[1])

    def _last(self, hidden):
        return (hidden @ self.weights[2] + self.weights[3])[..., 0]
