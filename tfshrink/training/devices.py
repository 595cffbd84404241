"""Data parallelism: each device takes some rows of every batch.

JAX spreads a batch that one program sees whole (`keras.distribution`).
TensorFlow runs a program on every device (`tf.distribute`), which sees its
rows alone: what a mean is taken over is then summed here. There, several
machines share a batch where `TF_CONFIG` names them.
"""

import contextlib
import functools
import json
import os

import keras
from keras import ops

from tfshrink import backend
from tfshrink.errors import UserError


@contextlib.contextmanager
def data_parallel(count, batch_size):
    """Models made inside live on several devices.

    Weights are copied to every device, rows of a batch are spread over them
    and the gradients summed: the losses are those of one device.

    Args:
        count: Number of devices of this machine; 0 takes all GPUs or TPUs
            that divide the batch, and one device where there are none.
            Several machines always give all their GPUs.
        batch_size: Rows of a batch.

    Yields:
        Whether there are several.

    Raises:
        UserError: there are fewer devices, or they do not divide the batch.
    """
    if machines()[1] > 1:
        strategy = _machines_strategy()
        _check_rows(strategy.num_replicas_in_sync, batch_size)
        with strategy.scope():
            yield True
        return
    devices = _devices(count, batch_size)
    if len(devices) < 2:
        yield False
    elif backend.is_tensorflow():
        with _devices_strategy(tuple(devices)).scope():
            yield True
    else:
        yield from _jax_devices(devices)


def machines():
    """Which machine this is, and of how many that share a batch.

    Returns:
        `(index, count)`, what `TF_CONFIG` says, or `(0, 1)`.

    Raises:
        UserError: it is not what `tf.distribute` reads.
    """
    text = os.environ.get("TF_CONFIG")
    if not text or not backend.is_tensorflow():
        return 0, 1
    try:
        config = json.loads(text)
        cluster = config.get("cluster") or {}
        chiefs, workers = (
            len(cluster.get(kind, ())) for kind in ("chief", "worker")
        )
        if chiefs + workers < 2:
            return 0, 1
        task = config["task"]
        index = int(task["index"])
        index += chiefs if task["type"] == "worker" else 0
        return index, chiefs + workers
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            "TF_CONFIG must be JSON with cluster (chief, worker) and task "
            f"(type, index). Received: {text!r}"
        ) from error


def _jax_devices(devices):
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(
            devices=devices, auto_shard_dataset=False
        )
    )
    try:
        yield True
    finally:
        keras.distribution.set_distribution(before)


@functools.cache
def _devices_strategy(devices):
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(devices)


@functools.cache
def _machines_strategy():
    import tensorflow as tf

    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, ValueError, tf.errors.OpError) as error:
        raise UserError(
            "TF_CONFIG must name machines that answer, and be set before "
            f"TensorFlow computes anything. Received: {error}"
        ) from error


def spread_rows(batch):
    """The batch with its rows on the devices of `data_parallel`.

    Args:
        batch: Dict of arrays, rows first.
    """
    if backend.is_replicated():
        return _replica_rows(batch)
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


def _replica_rows(batch):
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()
    devices = strategy.num_replicas_in_sync

    def spread(value):
        def own(context):
            rows = len(value) // devices
            first = rows * context.replica_id_in_sync_group
            return ops.convert_to_tensor(value[first : first + rows])

        return strategy.experimental_distribute_values_from_function(own)

    return {name: spread(value) for name, value in batch.items()}


def on_every_device(function):
    """The function, run by each device of `data_parallel` on its rows."""
    if not backend.is_replicated():
        return function
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()
    return lambda *args: strategy.run(function, args=args)


def summed_over_devices(value):
    """Sum of what the devices hold, inside a function of `on_every_device`."""
    if not backend.is_replicated():
        return value
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def share_of_device(count):
    """Which share of a batch this device holds, 1 where one holds all.

    Args:
        count: Scalar tensor, what the device's rows count for in a mean.
    """
    if not backend.is_replicated():
        return ops.ones_like(count)
    return count / ops.maximum(summed_over_devices(count), 1.0)


def first_device(value):
    """What the first device returned from a function of `on_every_device`."""
    if not backend.is_replicated():
        return value
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()
    return strategy.experimental_local_results(value)[0]


def total_over_machines(number):
    """Sum of what each machine of `data_parallel` calls this with."""
    if machines()[1] < 2:
        return number
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()
    own = strategy.run(lambda: tf.constant(float(number)))
    total = strategy.reduce(tf.distribute.ReduceOp.SUM, own, axis=None)
    devices = strategy.num_replicas_in_sync // machines()[1]
    return float(total) / devices


def agree_over_machines(number, what):
    """Raises a `UserError` unless all machines call this with one number.

    Args:
        number: Integer below 65,536.
        what: What it stands for, in the error.
    """
    if total_over_machines(number) != number * machines()[1]:
        raise UserError(
            f"{what} must be the same on every machine: copy it from one to "
            f"the others. Received: {number} here, another number elsewhere"
        )


def _devices(count, batch_size):
    found = _found_devices()
    if not count:
        count = 1 if "cpu" in found[0].lower() else len(found)
        shares = [n for n in range(1, count + 1) if batch_size % n == 0]
        count = max(shares)
    if count > len(found):
        raise UserError(
            f"`devices` must be at most {len(found)}, what this machine has. "
            f"Received: {count}"
        )
    _check_rows(count, batch_size)
    return found[:count]


def _check_rows(devices, batch_size):
    if batch_size % devices:
        raise UserError(
            f"`devices` must divide batch_size={batch_size}. "
            f"Received: {devices}"
        )


def _found_devices():
    """Names of the devices a batch can be spread over, GPUs if there are."""
    if not backend.is_tensorflow():
        return keras.distribution.list_devices()
    import tensorflow as tf

    devices = tf.config.list_logical_devices("GPU")
    devices = devices or tf.config.list_logical_devices("CPU")
    return [device.name for device in devices]
