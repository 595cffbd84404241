"""What a figure was measured with: versions, device, cores, memory."""

import importlib.metadata
import os
import platform
import sys

PACKAGES = (
    "tfshrink",
    "tensorflow",
    "keras",
    "jax",
    "transformers",
    "numpy",
)


def environment():
    """Versions, backend, device and cores, for `results.json`.

    Nothing in it names a person, a host or a folder. Asks only libraries
    that are loaded already, so that it costs nothing in a command that
    needs none.

    Returns:
        A dict of `versions` (package: version), `backend` (`None` when
        Keras is not loaded), `device`, `cores` (that this process may
        use) and `system`.
    """
    return {
        "versions": {"python": platform.python_version(), **_versions()},
        "backend": backend(),
        "device": device(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _versions():
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def backend():
    """The name of the loaded Keras backend, or `None`."""
    keras = sys.modules.get("keras")
    return keras.config.backend() if keras else None


def cores():
    """The number of CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def device():
    """The accelerator the backend computes on, or the CPU's model name."""
    names = {"tensorflow": _tensorflow_gpus, "jax": _jax_devices}
    found = names[backend()]() if backend() in names else []
    if not found:
        return _cpu_name()
    count = f"{len(found)} x " if len(found) > 1 else ""
    return f"{count}{found[0]}"


def _tensorflow_gpus():
    import tensorflow as tf

    return [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
        for gpu in tf.config.list_physical_devices("GPU")
    ]


def _jax_devices():
    import jax

    return [d.device_kind for d in jax.devices() if d.platform != "cpu"]


def _cpu_name():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
