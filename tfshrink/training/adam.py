"""Adam whose update of a variable is one pass over memory."""

import keras
from keras import ops

from tfshrink.fusion import fuse


class FusedAdam(keras.optimizers.Adam):
    """`keras.optimizers.Adam`, an update computed by one fused kernel.

    Reference: Kingma & Ba, Adam, arXiv:1412.6980.
    """

    def apply(self, gradients, variables):
        """Moves the variables, which `build` was called with.

        Args:
            gradients: Tensors, of the whole batch: where several devices hold
                a copy of the variables, this is called once for all of them.
            variables: Keras variables.
        """
        for gradient, variable in zip(gradients, variables, strict=True):
            self.update_step(gradient, variable, self.learning_rate)
        self.iterations.assign_add(1)

    def update_step(self, gradient, variable, learning_rate):
        step = ops.cast(self.iterations + 1, "float32")
        place = self._get_variable_index(variable)
        moments = self._momentums[place], self._velocities[place]
        settings = [self.beta_1, self.beta_2, self.epsilon]
        rate = ops.cast(learning_rate, "float32")
        updated = fuse(_update)(
            variable, *moments, gradient, rate, step, *settings
        )
        for target, value in zip((variable, *moments), updated, strict=True):
            self.assign(target, value)


def _update(variable, mean, power, gradient, rate, step, beta_1, beta_2, tiny):
    """Returns variable, first and second moment after one step."""
    rate = rate * ops.sqrt(1.0 - beta_2**step) / (1.0 - beta_1**step)
    mean = mean + (gradient - mean) * (1.0 - beta_1)
    power = power + (ops.square(gradient) - power) * (1.0 - beta_2)
    return variable - mean * rate / (ops.sqrt(power) + tiny), mean, power
