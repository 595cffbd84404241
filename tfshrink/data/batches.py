"""Step-indexed batches: what a step sees depends on nothing before it."""

import queue
import threading

import numpy as np

from tfshrink.errors import UserError


class Batches:
    """Batches as a pure function of the seed and the step.

    Rows are drawn without replacement, in an order that each epoch draws
    anew from the seed; a batch may cross from one epoch to the next, so all
    batches are full. A run that resumes at step k sees exactly what a run
    that never stopped would.

    Args:
        examples: `Examples`.
        batch_size: Rows in a batch.
        seed: Integer ≥ 0; decides the order.
        shuffle: Whether rows are drawn in random order.

    Example:

    >>> batches = Batches(examples, batch_size=8, seed=0)
    >>> batches.at(100)["tokens"].shape
    (8, 512)
    """

    def __init__(self, examples, *, batch_size, seed, shuffle=True):
        if batch_size < 1:
            raise UserError(
                f"`batch_size` must be at least 1. Received: {batch_size}"
            )
        if not len(examples):
            raise UserError("`examples` must have at least one row.")
        self.examples = examples
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self._orders = {}

    def __len__(self):
        """Batches in an epoch, rounded up."""
        return -(-len(self.examples) // self.batch_size)

    @property
    def steps_per_epoch(self):
        """Batches in an epoch, rounded up."""
        return len(self)

    def at(self, step):
        """Returns `{"tokens", "mask"}` of `step`, each (B, T)."""
        draws = step * self.batch_size + np.arange(self.batch_size)
        epochs, places = np.divmod(draws, len(self.examples))
        rows = [
            self._order(epoch)[place]
            for epoch, place in zip(epochs.tolist(), places, strict=True)
        ]
        return {
            "tokens": self.examples.tokens[rows],
            "mask": self.examples.mask[rows],
        }

    def iterate(self, start=0, steps=None, prefetch=2):
        """Yields the batches from `start` on, made ahead in a thread.

        Args:
            start: First step.
            steps: How many; `None` never ends.
            prefetch: How many batches wait at most.

        Yields:
            What `at` returns.
        """
        waiting = queue.Queue(maxsize=prefetch)
        stopped = threading.Event()

        def put(item):
            while not stopped.is_set():
                try:
                    return waiting.put(item, timeout=0.1)
                except queue.Full:
                    continue

        def work():
            step = start
            try:
                while not stopped.is_set() and (
                    steps is None or step < start + steps
                ):
                    put(self.at(step))
                    step += 1
                put(None)
            except Exception as error:  # raised where the batch is wanted
                put(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            while (item := waiting.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            stopped.set()
            thread.join()

    def as_dataset(self, start=0, steps=None):
        """Returns the batches from `start` on as a `tf.data.Dataset`.

        Args:
            start: First step.
            steps: How many; `None` never ends.

        Returns:
            A dataset of `{"tokens", "mask"}`, prefetched. TensorFlow only.
        """
        import tensorflow as tf

        def generate():
            step = start
            while steps is None or step < start + steps:
                yield self.at(step)
                step += 1

        shape = (self.batch_size, self.examples.tokens.shape[1])
        signature = {
            "tokens": tf.TensorSpec(shape, tf.int32),
            "mask": tf.TensorSpec(shape, tf.float32),
        }
        dataset = tf.data.Dataset.from_generator(
            generate, output_signature=signature
        )
        if steps is not None:
            dataset = dataset.apply(
                tf.data.experimental.assert_cardinality(steps)
            )
        return dataset.prefetch(tf.data.AUTOTUNE)

    def _order(self, epoch):
        """Returns the row numbers in the order of `epoch`."""
        order = self._orders.get(epoch)
        if order is None:
            order = np.arange(len(self.examples))
            if self.shuffle:
                np.random.default_rng((self.seed, epoch)).shuffle(order)
            # Only the newest two: a batch rarely needs an older one again.
            newest = list(self._orders.items())[-1:]
            self._orders = dict([*newest, (epoch, order)])
        return order
