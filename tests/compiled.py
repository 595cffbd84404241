"""What XLA compiled, kept on disk: processes of one program share it.

TensorFlow looks a kernel up by the name of its function, which counts those
traced before it: only processes that begin alike profit, such as a run, the
same run again and its resumption. What is read is checked against the kernel
asked for, and written by renaming.
"""

import os

from absl import flags


def environment(values=None):
    """The environment of a process that shares what was compiled.

    Args:
        values: Environment to start from; `None` is ours.

    Returns:
        A dict; `TF_XLA_FLAGS` that are set already stay.
    """
    folder = os.path.join(flags.FLAGS.test_tmpdir, "compiled")
    cache = f"--tf_xla_persistent_cache_directory={folder}"
    values = os.environ if values is None else values
    return {"TF_XLA_FLAGS": cache, **values}
