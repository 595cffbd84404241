"""What every test run needs before anything heavy is imported."""

import gc
import os
import subprocess
import sys
import tempfile
from importlib.machinery import PathFinder

import pytest

# Kernels log and warn at start-up; a test's output is its failures.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# A test never talks to the hub: what it needs is local or fails clearly.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# Minutes each; a worker takes whole files, in this order, then all others.
LONGEST = (
    "tests/jax_backend_test",
    "tests/benchmarks_test",
    "tests/notebooks_test",
    "tests/models/exit_walk_test",
    "tests/models/generation_test",
    "tests/training/command_test",
    "tests/training/scratch_test",
    "tests/search/commands_test",
    "tests/training/devices_test",
    "tests/training/",
    "tests/search/",
    "tests/evaluation/",
    "tests/deploy/",
)
# TensorFlow keeps every program that it compiled until a process ends, 10 to 30
# MB each: these files would fill the memory of a worker, and get processes of
# their own where all tests run.
ALONE = (
    "tests/deploy/litert/exit_session_test.py",
    "tests/models/exit_walk_test.py",
    "tests/models/generation_test.py",
)
WORKER = "PYTEST_XDIST_WORKER"  # set by xdist in a process of its


class _WithoutTensorFlow:
    """The path finder of a machine on which TensorFlow is not installed."""

    def __init__(self, finder):
        self._finder = finder

    def __getattr__(self, name):
        return getattr(self._finder, name)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tf_keras"):
            return None
        return self._finder.find_spec(name, path, target)


if os.environ.get("TFSHRINK_BLOCK_TENSORFLOW"):
    sys.meta_path[:] = [
        _WithoutTensorFlow(finder) if finder is PathFinder else finder
        for finder in sys.meta_path
    ]


class _FileAlone(pytest.Item):
    """All tests of a file as one, in a process that ends with them."""

    def runtest(self):
        command = [sys.executable, "-m", "pytest", "-q", "-n0", str(self.path)]
        done = subprocess.run(
            command,
            cwd=self.config.rootpath,
            env={k: v for k, v in os.environ.items() if k != WORKER},
            capture_output=True,
            text=True,
            check=False,
        )
        print(done.stdout[-20000:], done.stderr[-2000:])
        assert done.returncode == 0, f"pytest {self.path} failed"

    def reportinfo(self):
        return self.path, 0, f"{self.path.name}, alone"


def _is_alone(config, item):
    """Whether the file of a test gets a process of its own."""
    name = item.path.relative_to(config.rootpath).as_posix()
    chosen = config.option.keyword or config.option.markexpr
    chosen = chosen or any(
        "::" in one or one.endswith(".py") for one in config.args
    )
    return name in ALONE and WORKER in os.environ and not chosen


def _put_apart(config, items):
    """Puts one item in the place of all tests of a file that runs alone."""
    found, files = [], set()
    for item in items:
        if not _is_alone(config, item):
            found.append(item)
        elif item.path not in files:
            files.add(item.path)
            parent = item.getparent(pytest.Module)
            found.append(_FileAlone.from_parent(parent, name="alone"))
    items[:] = found


def pytest_collection_modifyitems(config, items):
    """What takes longest begins first: small files fill the time at the end."""
    _put_apart(config, items)

    def place(item):
        own = (i for i, name in enumerate(LONGEST) if name in item.nodeid)
        return next(own, len(LONGEST))

    items.sort(key=place)


def pytest_collection_finish():
    """Libraries stay: no search for garbage need look at them again."""
    gc.collect()
    gc.freeze()


def _examples_of_properties():
    """Few examples, the same every time; many where a profile asks for them."""
    import hypothesis

    own = {"deadline": None, "database": None}
    hypothesis.settings.register_profile(
        "quick", max_examples=25, derandomize=True, **own
    )
    hypothesis.settings.register_profile(
        "thorough",
        max_examples=1000,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
        **own,
    )
    profile = os.environ.get("HYPOTHESIS_PROFILE", "quick")
    hypothesis.settings.load_profile(profile)


def pytest_configure(config):
    """Lets absl's test helpers read their flags outside `absltest.main`."""
    _examples_of_properties()
    from absl import flags
    from absl.testing import absltest  # noqa: F401  defines the flags

    folder = tempfile.TemporaryDirectory(prefix="tfshrink_test_")
    config.add_cleanup(folder.cleanup)
    flags.FLAGS["test_tmpdir"].value = folder.name
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
