"""One process at a time where a run writes."""

import errno
import os
import weakref

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

from tfshrink.errors import UserError

_TAKEN = (errno.EWOULDBLOCK, errno.EACCES)
_HELD = weakref.WeakValueDictionary()  # what this process holds


class Lock:
    """Keeps other processes off a folder or a file.

    It is the system's lock of the place itself (`flock`): there is no file to
    leave behind, and a process that ends, killed or not, holds nothing any
    more. Within a process the same place may be locked again; it is free once
    no `Lock` of it is left. Where a system or a file system knows no such
    locks, there is none.

    Args:
        path: A folder or a file that is there.
        argument: Named in the error.

    Raises:
        UserError: Another process holds it.

    Example:
        >>> lock = Lock("runs/first", "--workdir")
    """

    def __init__(self, path, argument):
        if fcntl is None:
            return
        status = os.stat(path)
        # A fork inherits the table, but is another process.
        key = os.getpid(), status.st_dev, status.st_ino
        held = _HELD.get(key)
        if held is None:
            held = _HELD[key] = _Held(path, argument)
        self._held = held


class _Held:
    """An open place, locked."""

    def __init__(self, path, argument):
        self._descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _TAKEN:
                raise UserError(
                    f"`{argument}` must be in use by no other process. "
                    f"Received: {path}, which another one writes into"
                ) from error

    def __del__(self):
        descriptor = getattr(self, "_descriptor", None)
        if descriptor is not None:
            os.close(descriptor)
