"""Data parallelism: each device takes some rows of every batch."""

import contextlib

import keras
from keras import ops

from tfshrink import backend
from tfshrink.errors import UserError


@contextlib.contextmanager
def data_parallel(count, batch_size):
    """Models made inside live on several devices (JAX backend).

    Weights are copied to every device, rows of a batch are spread over them,
    and XLA sums the gradients: the losses are those of one device.

    Args:
        count: Number of devices; 0 takes all GPUs or TPUs that divide the
            batch, and one device where there are none.
        batch_size: Rows of a batch.

    Raises:
        UserError: there are fewer devices, they do not divide the batch, or
            the backend is TensorFlow.
    """
    devices = _devices(count, batch_size)
    if len(devices) < 2:
        yield
        return
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(
            devices=devices, auto_shard_dataset=False
        )
    )
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


def spread_rows(batch):
    """The batch with its rows on the devices of `data_parallel`.

    Args:
        batch: Dict of arrays, rows first.
    """
    distribution = keras.distribution.distribution()
    if distribution is None:
        return batch
    return {
        name: keras.distribution.distribute_tensor(
            ops.convert_to_tensor(value),
            distribution.get_data_layout(value.shape),
        )
        for name, value in batch.items()
    }


def _devices(count, batch_size):
    if backend.is_tensorflow():
        if count > 1:
            raise UserError(
                "`devices` above 1 needs the JAX backend: set "
                f"KERAS_BACKEND=jax. Received: {count}"
            )
        return []
    found = keras.distribution.list_devices()
    if not count:
        count = 1 if found[0].startswith("cpu") else len(found)
        count = max(n for n in range(1, count + 1) if batch_size % n == 0)
    if count > len(found):
        raise UserError(
            f"`devices` must be at most {len(found)}, what this machine has. "
            f"Received: {count}"
        )
    if batch_size % count:
        raise UserError(
            f"`devices` must divide batch_size={batch_size}. Received: {count}"
        )
    return found[:count]
