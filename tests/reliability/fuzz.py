"""Reads damaged files, and counts what the readers say.

Every reader of a file gets whole files of which one is damaged: bytes and
lengths that are others, a missing end, JSON of other types, also underneath
checksums. It may accept what it gets or raise `UserError`; everything else is
a finding: another error, a crash, a hang, memory without bounds. Readers run
in processes of their own, their address space limited. A finding's files are
kept where --findings says, and `--reader=NAME --only=NUMBER` does one again.

Examples:
  python -m tests.reliability.fuzz --inputs=100000
  python -m tests.reliability.fuzz --reader=gguf --inputs=500
  python -m tests.reliability.fuzz --reader=gguf --only=317
"""

import collections
import json
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from absl import flags

from tests.reliability.bad_readers import BAD
from tests.reliability.mutations import mutated
from tests.reliability.readers import damaged_files
from tests.reliability.readers import READERS
from tfshrink import cli
from tfshrink.files import write_json

FLAGS = flags.FLAGS
ROOM = 1 << 30  # bytes of address space beyond what the imports took
ALL = {**READERS, **BAD}
GROWTH = 256 << 20  # bytes of memory that one small file may cost

with cli.flag_group("Fuzzing"):
    flags.DEFINE_integer("inputs", 1000, "Damaged files, of all readers.")
    flags.DEFINE_list("reader", [], "Readers. Default: all.")
    flags.DEFINE_integer("only", None, "Number of one input, read here.")
    flags.DEFINE_integer("seed", 0, "Decides the damage.")
    flags.DEFINE_integer("timeout", 20, "Seconds that one file may take.")
    flags.DEFINE_string("findings", "findings", "Folder that keeps them.")
    flags.DEFINE_string("json", None, "File that takes the counts as JSON.")


def main(arguments):
    names = FLAGS.reader or list(READERS)
    if FLAGS.only is not None:
        return _once(names[0], FLAGS.only)
    total = sum(READERS[name].weight for name in names)
    rows = []
    for name in names:
        count = round(FLAGS.inputs * READERS[name].weight / total)
        row = fuzz(name, count, seed=FLAGS.seed, timeout=FLAGS.timeout)
        rows.append(row)
        print(json.dumps(row), flush=True)
    from tfshrink.evaluation.table import print_table

    rows.append(_sum(rows))
    shown = ("reader", "inputs", "accepted", "UserError", "findings", "seconds")
    print_table(rows, shown)
    if FLAGS.json:
        write_json(FLAGS.json, {"seed": FLAGS.seed, "readers": rows})
    sys.exit(1 if rows[-1]["findings"] else 0)


def _sum(rows):
    keys = ("inputs", "accepted", "UserError", "findings", "seconds")
    return {"reader": "all"} | {k: sum(row[k] for row in rows) for k in keys}


def fuzz(name, count, *, seed=0, timeout=20, findings=None):
    """Has a reader read so many damaged files.

    Args:
        name: One of `ALL`.
        count: Files.
        seed: Decides the damage.
        timeout: Seconds that one file may take.
        findings: Folder that keeps what was no `UserError`.

    Returns:
        Dict of counts, and `kinds`: findings by what they were.
    """
    start = time.monotonic()
    findings = Path(findings or FLAGS.findings)
    spawn = multiprocessing.get_context("spawn")
    found = collections.Counter()
    with tempfile.TemporaryDirectory(prefix="tfshrink_fuzz_") as folder:
        whole = Path(folder, "whole")
        maker = spawn.Process(target=_make, args=(name, whole))
        maker.start()
        maker.join()
        if maker.exitcode:
            raise RuntimeError(f"no whole files of {name} could be made")
        first = 0
        good = spawn.Array("q", 2)  # accepted, refused
        while first < count:
            queue = spawn.SimpleQueue()
            place = spawn.Value("q", -1)
            task = (name, whole, first, count, seed, place, queue, good)
            worker = spawn.Process(target=_work, args=task)
            worker.start()
            hung, pending = _watch(worker, place, queue, timeout)
            first = count
            if worker.exitcode or hung:  # the next file is for a new process
                number = place.value
                if number < 0:
                    raise RuntimeError(f"the reader {name} does not start")
                kind = "hang" if hung else f"crash ({worker.exitcode})"
                found[kind] += 1
                _keep(findings, name, number, whole, seed, kind)
                first = number + 1
            for number, kind in pending:
                found[kind] += 1
                _keep(findings, name, number, whole, seed, kind)
    seconds = round(time.monotonic() - start, 1)
    good = dict(zip(("accepted", "UserError"), good, strict=True))
    return {
        "reader": name,
        "inputs": count,
        **good,
        "findings": sum(found.values()),
        "seconds": seconds,
        "kinds": dict(found.most_common()),
    }


def _make(name, folder):
    folder.mkdir(parents=True)
    ALL[name].make(folder)


def _watch(worker, place, queue, timeout):
    """Waits for a worker: whether one file took it too long, its findings."""
    seen, since, found = -2, time.monotonic(), []
    while worker.is_alive():
        _drain(queue, found)
        now = place.value
        if now != seen:
            seen, since = now, time.monotonic()
        limit = timeout if seen >= 0 else 300  # imports come first
        if time.monotonic() - since > limit:
            worker.kill()
            worker.join()
            return True, found
        worker.join(0.05)
    _drain(queue, found)
    return False, found


def _drain(queue, found):
    while not queue.empty():
        found.append(queue.get())


def _work(name, whole, first, count, seed, place, queue, good):
    """Reads damaged files in a process of its own."""
    from tfshrink.errors import UserError
    from tfshrink.quiet import quiet

    quiet()
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    reader = ALL[name]
    folder = Path(tempfile.mkdtemp(prefix="tfshrink_fuzz_"))
    try:
        own = folder / "own"
        shutil.copytree(whole, own)
        files = damaged_files(reader, own)
        before = {path: path.read_bytes() for path in files}
        reader.read(own)  # whole files are read, and bring the imports
        _restore(before)
        _limit_memory()
        peak = _peak()
        for number in range(first, count):
            place.value = number
            _damage(own, files, before, name, number, seed)
            kind, refused = None, 0
            try:
                reader.read(own)
            except UserError as error:
                refused = 1
                if _of_memory(error):
                    kind = "memory (behind a UserError)"
            except BaseException as error:
                kind = _kind(error)
            if _peak() - peak > GROWTH:
                kind = kind or "memory"
                Path("/proc/self/clear_refs").write_text("5")  # forget it
                peak = _peak()
            if kind:
                queue.put((number, kind))
            else:
                good[refused] += 1
            _restore(before)
        reader.read(own)  # what was damaged before has damaged nothing else
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.flush()
    os._exit(0)  # libraries whose state is damaged may not end well


def _restore(before):
    for path, data in before.items():
        if path.read_bytes() != data:
            path.write_bytes(data)


def _damage(own, files, before, name, number, seed):
    """Damages one file; what is damaged depends on the number alone."""
    own_random = random.Random(f"{seed}/{name}/{number}")
    path = own_random.choice(files)
    path.write_bytes(mutated(before[path], own_random, path.suffix))
    return path


def _limit_memory():
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _peak():
    """Bytes that this process took at most; `ru_maxrss` knows its parents'."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def _of_memory(error):
    """Whether memory ran out beneath an error."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _kind(error):
    """What was raised, and by which line of the package."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/tfshrink/" in frame.filename]
    last = (own or frames)[-1]
    where = last.filename.rpartition("/tfshrink/")[2]
    return f"{type(error).__name__} in {where}:{last.lineno}"


def _keep(findings, name, number, whole, seed, kind):
    """Keeps the damaged file of a finding."""
    folder = findings / name / str(number)
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as place:
        own = Path(place, "own")
        shutil.copytree(whole, own)
        files = damaged_files(ALL[name], own)
        before = {path: path.read_bytes() for path in files}
        path = _damage(own, files, before, name, number, seed)
        folder.mkdir(parents=True)
        shutil.copy(path, folder / path.name)
    (folder / "kind.txt").write_text(kind + "\n")


def _once(name, number):
    """Reads one input in this process, its traceback shown."""
    reader = ALL[name]
    with tempfile.TemporaryDirectory() as place:
        own = Path(place, "own")
        _make(name, own)
        files = damaged_files(reader, own)
        before = {path: path.read_bytes() for path in files}
        print(_damage(own, files, before, name, number, FLAGS.seed))
        reader.read(own)


if __name__ == "__main__":
    cli.run(main)
