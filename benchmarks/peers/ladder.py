"""The networks that are compared: square layers of growing size, pruned by DARB, and any other ``.darb`` file."""

from pathlib import Path

from darb_prune.encoded import DarbError, EncodedNetwork

__all__ = ["RATIO", "SIZES", "make", "named"]

SIZES = (16, 32, 64, 128, 256, 1024, 2048)
RATIO = 8.0
_PREFIX = "linear-"


def named(name: str, folder: Path) -> Path:
    """The file of a network: ``linear-N`` is made in ``folder`` unless it exists, anything else is a path.

    Raises
    ------
    DarbError
        If there is no such network.
    """
    size = name.removeprefix(_PREFIX)
    if name.startswith(_PREFIX) and size.isdecimal() and int(size) > 1:
        path = folder / f"{name}.darb"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            make(int(size)).save(path)
        return path
    if not Path(name).is_file():
        raise DarbError(f"{name}: neither a .darb file nor {_PREFIX}N; make one with darb compile")
    return Path(name)


def make(size: int) -> EncodedNetwork:
    """A Linear layer of ``size`` inputs and outputs with ReLU, random weights, rows of different norms.

    The same for everybody: seeded, on one thread.
    """
    import torch
    from torch import nn

    from darb_prune import encode, prune, quantize
    from darb_prune.training.loop import seeded

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with seeded(size):
            linear = nn.Linear(size, size)
            model = nn.Sequential(linear, nn.ReLU())
            with torch.no_grad():
                linear.weight *= torch.exp(torch.randn(size, 1) / 2)
            calibration = torch.randn(256, size)
            pruned = prune(model, RATIO)
        integer = quantize(model, calibration, name=f"{_PREFIX}{size}")
    finally:
        torch.set_num_threads(threads)
    return encode(integer, provenance={"ratio": round(pruned.ratio, 4)})
