"""The test vectors of a build on its board."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from darb_hw.emit import Build
from darb_hw.host.device import Device
from darb_prune.encoded import DarbError

__all__ = ["Tested", "self_test"]


@dataclass(frozen=True)
class Tested:
    """What a test has shown: all outputs were right.

    Parameters
    ----------
    samples : int
        Inputs that were sent.
    repeated : int
        Requests that were sent again.
    """

    samples: int
    repeated: int


def self_test(
    device: Device, build: Build, samples: int | None = None, progress: Callable[[], None] | None = None
) -> Tested:
    """Send test vectors, and compare the outputs with those of the oracle.

    Parameters
    ----------
    device : Device
    build : Build
        With test vectors.
    samples : int, optional
        All of them if absent.
    progress : callable, optional
        Called for each output.

    Raises
    ------
    DarbError
        If an output is wrong, or the build has no test vectors.
    """
    vectors, network = build.load_vectors(), build.plan.network
    starts = vectors.starts
    count = vectors.samples if samples is None else min(samples, vectors.samples)
    rows = [slice(starts[sample], starts[sample + 1]) for sample in range(count)]
    sent, right = vectors.tensors[network.input], vectors.tensors[network.output]
    inputs = (sent[part] if network.recurrent else sent[part][0] for part in rows)
    for sample, output in enumerate(device.stream(inputs)):
        expected = right[rows[sample]] if network.recurrent and network.emit == "step" else right[rows[sample]][-1]
        if not np.array_equal(output, expected):
            place = np.argwhere(output != expected)[0] if output.shape == expected.shape else None
            where = f" at {tuple(int(index) for index in place)}" if place is not None else ""
            raise DarbError(f"sample {sample}: the board and the oracle differ{where}: keep the build, and report this")
        if progress:
            progress()
    return Tested(count, device.repeated)
