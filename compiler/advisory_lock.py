"""Advisory locks (``flock``): the kernel drops them with the process, so nothing is left behind by one that was killed."""

from __future__ import annotations

import errno

HELD = (errno.EACCES, errno.EAGAIN)


def lock(handle: int, *, wait: bool) -> bool | None:
    """Lock an open file or folder for this process alone.

    Args:
        handle: Its file descriptor; closing it unlocks.
        wait: Until it is free.

    Returns:
        Whether the lock was got; None if files cannot be locked here.
    """
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except ImportError:
        return None
    except OSError as error:
        return False if error.errno in HELD else None
    return True
