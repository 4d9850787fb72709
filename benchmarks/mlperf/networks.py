"""The reference networks, dense and pruned: each is made by three or four commands unless its file exists."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.builds import darb

__all__ = ["BUILD", "NETWORKS", "Reference", "network_file"]

RUNS, BUILD = Path("runs") / "mlperf", Path("build") / "mlperf"


@dataclass(frozen=True)
class Reference:
    """A network of MLPerf Tiny.

    Parameters
    ----------
    title, short : str
        Of the network, and what results call the benchmark.
    task : str
        See docs/tasks.md.
    samples : int
        Of the test split, as test vectors and in simulation.
    options : tuple
        Of ``darb prune``, beside the ratio; the others are those of the task.
    channels : float
        If above 1, the ratio at which whole channels are taken out before.
    compiled : tuple
        Options of ``darb compile``.
    """

    title: str
    short: str
    task: str
    samples: int
    options: tuple[object, ...] = ()
    channels: float = 1
    compiled: tuple[object, ...] = ()


# Their weights are few, and the network is sensitive to them: the others are pruned a little more instead.
_DENSE = tuple(word for layer in ("c0", "s2.skip", "s3.skip", "fc") for word in ("--exclude", layer))

NETWORKS = {
    "kws": Reference("DS-CNN, keyword spotting", "KWS", "mlperf-kws", 100),
    "kws_half": Reference(
        "DS-CNN of fewer channels, keyword spotting",
        "KWS of fewer channels",
        "mlperf-kws",
        100,
        ("--method", "nm", "--group", 4),
        channels=2,
        compiled=("--weight-bits", 4, "--mult-bits", 10, "--epochs", 60),
    ),
    "ic": Reference("ResNet-8, image classification", "IC", "mlperf-ic", 100, (*_DENSE, "--order", "search")),
    "vww": Reference("MobileNetV1-0.25, visual wake words", "VWW", "mlperf-vww", 10),
    "ad": Reference("autoencoder, anomaly detection", "AD", "mlperf-ad", 100, ("--lanes", 64)),
}


def network_file(name: str, ratio: float) -> tuple[Path, list[str]]:
    """The ``.darb`` file of a network, with test vectors beside it, and the commands that make it.

    Parameters
    ----------
    name : str
        A key of ``NETWORKS``.
    ratio : float
        1 for the published weights as they are.
    """
    reference = NETWORKS[name]
    run = dense = RUNS / name
    commands = [darb("train", "--task", reference.task, "-o", dense, done=dense / "run.json")]
    if reference.channels > 1:
        run = RUNS / f"{name}-channels"
        options = "--method", "channels", "--ratio", f"{reference.channels:g}"
        commands.append(darb("prune", dense, *options, "-o", run, done=run / "run.json"))
        dense = run
    if ratio > 1:
        run = RUNS / f"{name}-{ratio:g}x"
        options = "--ratio", f"{ratio:g}", *reference.options
        commands.append(darb("prune", dense, *options, "-o", run, done=run / "run.json"))
    path = BUILD / f"{name}-{ratio:g}x.darb"
    options = "--vectors", reference.samples, *reference.compiled
    commands.append(darb("compile", run, *options, "-o", path, done=path))
    return path, commands
