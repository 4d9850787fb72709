"""A board that answers: inputs in, outputs out."""

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any

import numpy as np

from darb_hw.board.report import BoardReport
from darb_hw.emit import Build
from darb_hw.host.exchange import Exchange
from darb_hw.host.line import ByteLine, opened_line
from darb_hw.host.reload import check_engine, check_exchange, send_network
from darb_hw.link.info import BoardInfo
from darb_hw.link.protocol import PENDING, VERSION, PacketKind
from darb_hw.link.shape import LinkShape
from darb_hw.plan.plan import Plan
from darb_prune.encoded import DarbError, elements_of

__all__ = ["Device", "Pace"]


@dataclass(frozen=True)
class Pace:
    """How fast a board answers over its line.

    Parameters
    ----------
    rate : float
        Inferences a second, as many on their way as may be.
    latency : float
        Seconds from a request to its reply, one at a time; the median.
    samples : int
        Inferences that were measured.
    """

    rate: float
    latency: float
    samples: int


class Device:
    """A board with the bitstream of a build.

    Parameters
    ----------
    port : str or ByteLine
        See :func:`~darb_hw.host.line.opened_line`; or an open line.
    build : Build or path
        The build folder of ``darb board``.
    baud : int, optional
        Bits a second; by default those that the bitstream was made for.
    seconds : float
        How long to wait for a reply beside what it takes on the line.
    attempts : int
        How often a request is sent before it is given up.
    other : bool
        Whether the board may have another network than the build, which :meth:`reload` exchanges.

    Raises
    ------
    DarbError
        If there is no such port, nobody answers, or the board has another bitstream.

    Examples
    --------
    >>> with Device("/dev/ttyUSB1", "build/ulx3s") as device:
    ...     labels = device.predict(images).argmax(axis=1)
    """

    def __init__(
        self,
        port: str | ByteLine,
        build: Build | str | Path,
        baud: int | None = None,
        seconds: float = 1.0,
        attempts: int = 4,
        other: bool = False,
    ) -> None:
        self._use(build if isinstance(build, Build) else Build.load(build))
        plan, report = self._plan, BoardReport.of(self._build)
        self._shape = LinkShape.of(plan, report.buffer)
        name = port if isinstance(port, str) else getattr(port, "name", None) or "board"
        baud = baud or report.baud
        self._line = opened_line(port, report.link, baud) if isinstance(port, str) else port
        self._exchange = Exchange(self._line, name, seconds + _longest(report, self._shape, plan, baud), attempts)
        self._name = name
        try:
            self.info = self._introduced()
            if not other:
                self._check_digest()
        except DarbError:
            self.close()
            raise

    def __enter__(self) -> "Device":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the port."""
        self._line.close()

    @property
    def repeated(self) -> int:
        """Requests that were sent again, since they or their replies were damaged or lost."""
        return self._exchange.repeated

    def _introduced(self) -> BoardInfo:
        told = self._exchange.one(PacketKind.INFO)
        try:
            info = BoardInfo.of(told)
        except ValueError as error:
            raise DarbError(f"{self._name}: {error}: is this a board of darb?") from None
        if info.version != VERSION:
            raise DarbError(
                f"{self._name}: the board has version {info.version} of the link, this package {VERSION}: make the "
                "bitstream again with darb board"
            )
        return info

    def _check_digest(self) -> None:
        build, told = self._build, self.info.digest
        if told != build.digest[:16]:
            remedy = f"load it with darb load {build.folder}"
            if build.plan.config.loads and self.info.engine == build.engine_digest[:16]:
                remedy = f"send it with darb host reload {build.folder} {build.folder} --port {self._name}"
            what = f"another bitstream or network ({told}) than {build.folder} ({build.digest[:16]})"
            raise DarbError(f"{self._name}: the board has {what if int(told, 16) else 'no network'}: {remedy}")
        # The digest may have come with the network.
        check_engine(build, self.info, self._name)

    def _use(self, build: Build) -> None:
        """Inputs and outputs are those of this build from now on."""
        self._build, plan = build, build.plan
        self._plan = plan
        self._input, self._output = (plan.network.tensor(name) for name in (plan.network.input, plan.network.output))

    def reload(self, build: Build | str | Path, progress: Callable[[int], None] | None = None) -> None:
        """Give the board another network. It goes on with the old one until the new one is there as a whole, if its
        engine has room for both; else it has none in between.

        Parameters
        ----------
        build : Build or path
            A build for the same engine, made with ``reload`` or with ROMs in single-port RAMs.
        progress : callable, optional
            Called with the number of bytes that the board has more than before.

        Raises
        ------
        DarbError
            If the engine of the board is another one, or the board does not take the network.
        """
        build = build if isinstance(build, Build) else Build.load(build)
        check_exchange(build, self.info, self._name)
        send_network(self._exchange, build, self._shape, self._name, progress)
        self._use(build)
        self.info = self._introduced()
        self._check_digest()

    def predict(self, inputs: Any, tasks: Sequence[int] | int = 0) -> Any:
        """Outputs for inputs.

        Parameters
        ----------
        inputs : array, shape (samples, ...), or sequence of arrays, shape (steps, ...), of a recurrent network
            Floats are scaled and rounded as the network wants it; integers are what the engine gets. A sample has the
            shape of the model's input, channels outermost, or is flat.
        tasks : int or sequence of int
            Of a network of several tasks: the set that is asked of each sample, a bit each; 0 for all.

        Returns
        -------
        numpy.ndarray, shape (samples, outputs), or list of arrays where they have different shapes
            float64, or int64 if the inputs are integers.

        Raises
        ------
        DarbError
            If inputs have another shape than the network, do not fit into the buffer of the board, or nobody answers.
        """
        whole = [np.asarray(sample) for sample in inputs]
        asked: list[Any] = [tasks] * len(whole) if np.ndim(tasks) == 0 else [*np.atleast_1d(np.asarray(tasks))]
        if len(asked) != len(whole):
            raise DarbError(f"{len(asked)} sets of tasks for {len(whole)} inputs")
        outputs = list(self.stream(whole, asked))
        return np.stack(outputs) if outputs and len({output.shape for output in outputs}) == 1 else outputs

    def stream(self, inputs: Iterable[Any], tasks: Iterable[int] | None = None) -> Iterator[np.ndarray]:
        """Outputs for inputs, one after another, while more are on their way; see :meth:`predict`."""
        given: list[tuple[bool, int]] = []

        def requests() -> Iterator[tuple[bytes, int]]:
            asked = iter(tasks) if tasks is not None else None
            for number, sample in enumerate(inputs):
                values = np.asarray(sample)
                subset = self._subset(next(asked, None) if asked is not None else 0, number)
                given.append((np.issubdtype(values.dtype, np.integer), subset))
                yield self._payload(values, subset, number)

        for reply, (integers, subset) in zip(
            self._exchange.many(PacketKind.INFER, requests(), self._shape.buffer), _taken(given), strict=False
        ):
            yield self._decoded(reply, integers, subset)

    def _subset(self, tasks: Any, number: int) -> int:
        """A set of tasks, checked."""
        count = self._plan.tasks
        if not isinstance(tasks, int | np.integer) or not 0 <= tasks < 1 << count:
            sets = f"sets of tasks are 0 to {(1 << count) - 1}" if count else "the network has one task"
            raise DarbError(f"input {number}: tasks {tasks!r}; {sets}")
        return int(tasks)

    def _payload(self, values: np.ndarray, subset: int, number: int) -> tuple[bytes, int]:
        """The payload of a request, and its elements."""
        plan, size = self._plan, self._input.size
        if plan.network.recurrent:
            steps = values.shape[0] if values.ndim else 0
            if steps == 0 or values.size != steps * size:
                raise DarbError(f"input {number}: shape {values.shape}; a sequence has steps of {size} values each")
        elif values.size != size:
            raise DarbError(f"input {number}: {values.size} values, {size} expected")
        if values.size > self._shape.buffer:
            raise DarbError(
                f"input {number}: {values.size} elements, the board has room for {self._shape.buffer}: make it with "
                f"darb board --buffer {values.size}"
            )
        source = self._input
        if np.issubdtype(values.dtype, np.integer):
            integers = values.astype(np.int64)
            if (integers < source.qmin).any() or (integers > source.qmax).any():
                raise DarbError(f"input {number}: values outside of {source.qmin} to {source.qmax}")
        else:
            if not np.isfinite(values).all():
                raise DarbError(f"input {number}: values that are not finite")
            rounded = np.rint(values.astype(np.float64) / source.scale) + source.zero
            integers = np.clip(rounded, source.qmin, source.qmax).astype(np.int64)
        ordered = integers.reshape(-1, size)[:, plan.stream_order]
        width = self._shape.input_bytes
        data = np.ascontiguousarray(ordered.astype("<i8")).view(np.uint8).reshape(-1, 8)[:, :width]
        return subset.to_bytes(self._shape.task_bytes, "little") + data.tobytes(), values.size

    def _decoded(self, reply: bytes, integers: bool, subset: int) -> np.ndarray:
        """The output that a payload carries."""
        width, plan = self._shape.output_bytes, self._plan
        everything = (1 << plan.tasks) - 1
        elements = elements_of(plan.network, subset or everything) if plan.tasks else range(self._output.size)
        if not reply or len(reply) % (width * len(elements)):
            raise DarbError(f"{self._name}: a reply of {len(reply)} bytes: load the bitstream of this build")
        wide = np.zeros((len(reply) // width, 8), np.uint8)
        wide[:, 8 - width :] = np.frombuffer(reply, np.uint8).reshape(-1, width)
        values = wide.reshape(-1).view("<i8").reshape(-1, len(elements)) >> (64 - 8 * width)
        if not (plan.network.recurrent and plan.network.emit == "step"):
            values = values[0]
        return values if integers else values * self._output.scale

    def measure(self, samples: int = 200) -> Pace:
        """Rate and latency, with inputs of zeros."""
        zero = np.full(self._input.size, min(max(self._input.zero, self._input.qmin), self._input.qmax))
        if self._plan.network.recurrent:
            zero = zero[None]
        times = []
        for _ in range(min(samples, 20)):
            start = perf_counter()
            self.predict([zero])
            times.append(perf_counter() - start)
        start = perf_counter()
        for _ in self.stream(zero for _ in range(samples)):
            pass
        return Pace(samples / (perf_counter() - start), statistics.median(times), samples)


def _longest(report: BoardReport, shape: LinkShape, plan: Plan, baud: int) -> float:
    """Seconds that all requests on their way may take, and their replies: twelve bits a byte, every byte escaped."""
    frames = max(shape.buffer // shape.inputs, 1)
    outputs = frames if plan.network.emit == "step" else PENDING
    most = max(shape.buffer * shape.input_bytes, outputs * plan.output_size * shape.output_bytes) + 64
    return 2 * 12 * most / baud + frames * report.latency_cycles / (report.clock_mhz * 1e6)


def _taken(given: list[tuple[bool, int]]) -> Iterator[tuple[bool, int]]:
    """What was given, as long as there is something: a reply comes behind its request."""
    while True:
        yield given.pop(0) if given else (False, 0)
