"""Keeps the libraries a command imports from chatting on stderr."""

import contextlib
import importlib.util
import logging
import os
import sys
import warnings

from absl import logging as absl_logging


def quiet():
    """Silences what is not an error; call it before heavy imports.

    Variables that the user has set (`TF_CPP_MIN_LOG_LEVEL=0`) win.
    """
    # "3" may come from a command of ours that started this one.
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "3":
        sys.meta_path.insert(0, _QuietTensorFlow())
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    for library in ("jax", "lm_eval", "tensorflow", "transformers"):
        logging.getLogger(library).setLevel(logging.ERROR)
    # In a notebook TensorFlow sets its level anew; a filter stays.
    logging.getLogger("tensorflow").addFilter(_is_error)
    absl_logging.set_verbosity(absl_logging.ERROR)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def _is_error(record):
    return record.levelno >= logging.ERROR


class _QuietTensorFlow:
    """Import hook that closes stderr while TensorFlow loads.

    Its libraries greet on the file descriptor itself before they read any
    setting (tensorflow/tensorflow#100442). Exceptions are not lost.
    """

    def find_spec(self, name, path=None, target=None):
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                with closed_stderr():
                    execute(module)

            spec.loader.exec_module = exec_module
        return spec


@contextlib.contextmanager
def closed_stderr():
    """Sends what C++ writes on stderr nowhere; Python's errors get through."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
