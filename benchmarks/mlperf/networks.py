"""The reference networks, dense and pruned: each is made by three commands unless its file exists."""

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
    """

    title: str
    short: str
    task: str
    samples: int
    options: tuple[object, ...] = ()


# Their weights are few, and the network is sensitive to them: the others are pruned a little more instead.
_DENSE = tuple(word for layer in ("c0", "s2.skip", "s3.skip", "fc") for word in ("--exclude", layer))

NETWORKS = {
    "kws": Reference("DS-CNN, keyword spotting", "KWS", "mlperf-kws", 100),
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
    if ratio > 1:
        run = RUNS / f"{name}-{ratio:g}x"
        options = "--ratio", f"{ratio:g}", *reference.options
        commands.append(darb("prune", dense, *options, "-o", run, done=run / "run.json"))
    path = BUILD / f"{name}-{ratio:g}x.darb"
    commands.append(darb("compile", run, "--vectors", reference.samples, "-o", path, done=path))
    return path, commands
