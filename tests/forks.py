"""Binaries run in forks of one process that has its imports behind it.

A test that looks at what a binary prints needs a process, not the seconds in
which that process imports TensorFlow. What start-up itself does is tested with
processes of their own (`quiet_test`, `cli_test`, `configs_test`).
"""

import atexit
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import unittest
import warnings
from pathlib import Path

from tests.test_case import ON_TENSORFLOW

ROOT = Path(__file__).parents[1]
IMPORTS = (
    "keras",
    "optuna",
    "tensorflow",
    "transformers",
    "tfshrink.analysis.analyze",
    "tfshrink.deploy.export",
    "tfshrink.evaluation.evaluate",
    "tfshrink.evaluation.kv_suite",
    "tfshrink.models.load",
    "tfshrink.models.sources",
    "tfshrink.search.search",
    "tfshrink.training.train",
)
# Keras looks for pandas, whose Arrow starts a thread; no command needs it.
SERVER = """
import sys
sys.modules["pandas"] = None
from tests.forks import serve
serve()
"""
_SERVERS = []


def run(command, *, cwd=None, env=None, timeout=200, check=False):
    """Runs a Python script as `subprocess.run` would, its output captured.

    Args:
        command: The script and its arguments.
        cwd: Folder to run in.
        env: Environment; `None` is ours.
        timeout: Seconds.
        check: Whether an exit status other than 0 raises.

    Returns:
        `subprocess.CompletedProcess` with text.
    """
    command = [str(part) for part in command]
    environment = dict(os.environ if env is None else env)
    if not ON_TENSORFLOW:  # JAX must not be forked
        raise unittest.SkipTest("binaries run on one backend")
    if not _SERVERS:
        _SERVERS.append(_start())
    with tempfile.TemporaryDirectory() as folder:
        files = [os.path.join(folder, name) for name in ("out", "error")]
        request = {
            "command": command,
            "cwd": str(cwd or os.getcwd()),
            "env": environment,
            "files": files,
            "timeout": timeout,
        }
        server = _SERVERS[0]
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        status = json.loads(server.stdout.readline())
        out, error = (Path(name).read_text() for name in files)
    if status is None:
        raise subprocess.TimeoutExpired(command, timeout, out, error)
    done = subprocess.CompletedProcess(command, status, out, error)
    if check:
        done.check_returncode()
    return done


def _start():
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OPENBLAS_NUM_THREADS": "1",
        },
    )
    atexit.register(_stop, server)
    return server


def _stop(server):
    server.kill()
    server.communicate()


def serve():
    """Answers requests, a line each, until there are no more."""
    import importlib

    for name in IMPORTS:
        importlib.import_module(name)
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:  # a fork would lack them
        sys.exit(f"Imports must start no threads. Received: {threads - 1}")
    # JAX warns of every fork: it was imported by others, and started nothing.
    warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
    for line in sys.stdin:
        status = _forked(json.loads(line))
        print(json.dumps(status), flush=True)


def _forked(request):
    """Exit status of a request; `None` where it took too long."""
    child = os.fork()
    if child == 0:
        _become(request)
    end = time.monotonic() + request["timeout"]
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        time.sleep(0.01)


def _become(request):
    """What a new interpreter does with a script; never returns."""
    code = 1
    try:
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        sources = [os.open(os.devnull, os.O_RDONLY)]
        flags = os.O_WRONLY | os.O_CREAT
        sources += [os.open(name, flags, 0o600) for name in request["files"]]
        for number, source in enumerate(sources):
            os.dup2(source, number)
        sys.argv = request["command"]
        sys.path[0] = os.path.dirname(sys.argv[0])
        if "PYTHONPATH" in os.environ:
            sys.path[1:1] = os.environ["PYTHONPATH"].split(os.pathsep)
        runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as exit:
        code = exit.code
        if code is not None and not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code or 0)
