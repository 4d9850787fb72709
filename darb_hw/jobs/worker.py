"""What a worker on this machine loads first. Ctrl-C is for the command that has started it, which ends its workers."""

import signal

__all__ = ["dask_setup"]


def dask_setup(worker: object) -> None:
    """Called by Dask in the main thread of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
