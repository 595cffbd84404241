"""The most memory this process has held."""

import sys

from tfshrink.evaluation.environment import backend

MB = 1e6


def peak_memory():
    """Peak memory so far, on the host and on the accelerator.

    Returns:
        A dict of `host_mb` (resident, in 10^6 bytes, since the process
        started) and, where the backend counts it, `device_mb` (the most of
        all accelerators together).
    """
    peak = {"host_mb": _host_bytes() / MB}
    counters = {"tensorflow": _tensorflow_bytes, "jax": _jax_bytes}
    if backend() in counters:
        device_bytes = counters[backend()]()
        if device_bytes:
            peak["device_mb"] = device_bytes / MB
    return peak


def reset_peak():
    """Forgets the peak of the host so far, where the system lets it.

    Returns:
        Whether it did: elsewhere the peak stays that of the whole process.
    """
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")  # proc_pid_clear_refs(5): the peak resident size
        return True
    except OSError:
        return False


def _host_bytes():
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in kilobytes, macOS in bytes.
    return peak if sys.platform == "darwin" else peak * 1024


def _tensorflow_bytes():
    import tensorflow as tf

    gpus = tf.config.list_logical_devices("GPU")
    return sum(
        tf.config.experimental.get_memory_info(gpu.name)["peak"] for gpu in gpus
    )


def _jax_bytes():
    import jax

    # A CPU device has no counters and answers with `None`.
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    return sum(s.get("peak_bytes_in_use", 0) for s in stats)
