"""The host's end of the link: outputs come back in order, whatever happens on the way, or an error does."""

import shutil

import numpy as np
import pytest

from darb_hw.board.report import FOLDER
from darb_hw.config import EngineConfig
from darb_hw.emit import generate
from darb_hw.host import Device
from darb_hw.host.device import Device as DeviceItself
from darb_hw.host.self_test import self_test
from darb_hw.plan.reload import reload_bytes, reload_size
from darb_prune.encoded import DarbError, elements_of
from tests.draws import SeedDraw
from tests.hw.host.pretended import PretendedLine, pretend
from tests.networks import random_inputs, random_lengths, random_network, twin
from tests.task_networks import with_tasks

pytestmark = pytest.mark.xdist_group("pretended boards")  # builds are made once

KINDS = {
    "dense": {"sizes": (9, 11, 4)},
    "convolution": {"kind": "convolution"},
    "lstm": {"kind": "lstm"},
    "gru": {"kind": "gru"},
}


@pytest.fixture(scope="module", params=[*KINDS, "tasks"])
def build(request, tmp_path_factory):
    """A build with vectors of 30 samples."""
    random = random_network(5, **KINDS.get(request.param, {}))
    if request.param == "tasks":
        random = with_tasks(random, SeedDraw(5))
    lengths = random_lengths(5, random.network, 30)
    inputs = random_inputs(5, random.network, 30 if lengths is None else int(lengths.sum()))
    folder = tmp_path_factory.mktemp(request.param)
    return generate(random.network, EngineConfig(lanes=2), folder, random.vectors(inputs, lengths))


def little(values: np.ndarray, size: int) -> bytes:
    return b"".join((int(value) % (1 << 8 * size)).to_bytes(size, "little") for value in values.reshape(-1))


def samples_of(build):
    """Inputs and outputs of each sample, as the engine takes and gives them."""
    vectors, network = build.load_vectors(), build.plan.network
    for begin, end in zip(vectors.starts[:-1], vectors.starts[1:], strict=True):
        inputs, outputs = (vectors.tensors[name][begin:end] for name in (network.input, network.output))
        if network.emit == "last":
            outputs = outputs[-1:]
        yield inputs, outputs


def line_of(build, **options) -> PretendedLine:
    """A line that knows the answers to the vectors of a build; of all tasks, if it has several."""
    shape = pretend(build, 4096)
    answers = {
        bytes(shape.task_bytes) + little(inputs[:, build.plan.stream_order], shape.input_bytes):
        little(outputs, shape.output_bytes)
        for inputs, outputs in samples_of(build)
    }  # fmt: skip
    return PretendedLine(build, shape, answers.__getitem__, **options)


def asked(build) -> tuple[list, list]:
    """Inputs for ``predict``, and what has to come."""
    network = build.plan.network
    inputs, outputs = zip(*samples_of(build), strict=True)
    if not network.recurrent:
        return [values[0] for values in inputs], [values[0] for values in outputs]
    return list(inputs), [values if network.emit == "step" else values[0] for values in outputs]


def test_integers_come_back_as_the_oracle_has_them(build):
    inputs, outputs = asked(build)
    with Device(line_of(build), build) as device:
        for got, expected in zip(device.predict(inputs), outputs, strict=True):
            assert np.array_equal(got, expected)
            assert got.dtype == np.int64
        assert self_test(device, build).samples == 30
        assert device.repeated == 0


@pytest.mark.parametrize("seed", range(8))
def test_damage_costs_time_and_nothing_else(build, seed):
    """A tenth of the packets is damaged each way, or lost."""
    inputs, outputs = asked(build)
    line = line_of(build, seed=seed)
    device = Device(line, build, baud=10**9, seconds=0.002, attempts=30)
    line.damage = 0.1
    for got, expected in zip(device.predict(inputs), outputs, strict=True):
        assert np.array_equal(got, expected)
    assert line.requests > 31
    assert device.repeated


def test_no_more_is_on_its_way_than_may_be(build):
    inputs, _ = asked(build)
    line = line_of(build)
    Device(line, build).predict(inputs)
    assert 1 < line.most <= 4


def test_floats_are_scaled_as_the_network_wants_it(tmp_path):
    random = random_network(5, sizes=(9, 11, 4))
    vectors = random.vectors(random_inputs(5, random.network, 30), None)
    build = generate(random.network, EngineConfig(lanes=2), tmp_path, vectors)
    network = build.plan.network
    source, target = network.tensor(network.input), network.tensor(network.output)
    inputs, outputs = asked(build)
    real = (np.array(inputs, float) - source.zero) * source.scale
    device = Device(line_of(build), build)
    got = device.predict(real + 0.3 * source.scale * np.sign(source.qmax - np.array(inputs) - 1))
    assert got.dtype == np.float64
    assert np.array_equal(got, np.array(outputs) * target.scale)
    # What is out of range is clamped.
    clamped = np.clip(inputs, source.qmin, source.qmax)
    edge = np.where(clamped == source.qmax, 1e6, real)
    assert np.array_equal(device.predict(edge), np.array(outputs) * target.scale)


def test_bad_inputs_are_refused_before_anything_is_sent(build):
    line = line_of(build)
    device = Device(line, build)
    sent, source = line.requests, build.plan.network.tensor(build.plan.network.input)
    steps = (2,) if build.plan.network.recurrent else ()
    cases = [
        (np.zeros((*steps, source.size + 1)), "values|steps of"),
        (np.full((*steps, source.size), np.nan), "not finite"),
        (np.full((*steps, source.size), source.qmax + 1), "outside of"),
    ]
    if steps:
        cases.append((np.zeros((5000, source.size)), "make it with darb board --buffer"))
    for values, message in cases:
        with pytest.raises(DarbError, match=message):
            device.predict([values])
    assert line.requests == sent


def test_another_bitstream_is_refused(build):
    line = line_of(build, digest="11" * 32)
    with pytest.raises(DarbError, match=r"another bitstream or network \(1111111111111111\).*load it with darb load"):
        Device(line, build)
    assert line.closed


def test_no_network_is_said(build):
    with pytest.raises(DarbError, match="the board has no network: load it with darb load"):
        Device(line_of(build, digest="00" * 32), build)


def test_another_version_is_refused(build):
    with pytest.raises(DarbError, match="version 9 of the link, this package 2"):
        Device(line_of(build, version=9), build)


def test_nobody_answers(build):
    line = line_of(build)
    line.write = lambda data: len(data)
    with pytest.raises(DarbError, match="line: no answer after 4 attempts: is the board loaded"):
        Device(line, build, baud=10**9, seconds=0.01)


@pytest.mark.parametrize(("fault", "message"), [(5, "does not know"), (6, "another size"), (7, "refused a value")])
def test_what_the_board_refuses(build, fault, message):
    line = line_of(build)
    device = Device(line, build)
    line.answers = lambda payload: fault
    with pytest.raises(DarbError, match=message):
        device.predict(asked(build)[0])


def test_a_refusal_concerns_its_request_alone(build):
    """What comes of the requests behind it does not disturb the next call."""
    inputs, outputs = asked(build)
    line = line_of(build)
    device, right = Device(line, build, baud=10**9, seconds=0.01), line.answers
    line.answers = lambda payload: 7
    with pytest.raises(DarbError, match="line, request 0: the board has refused a value"):
        device.predict(inputs[:3])
    line.answers = right
    assert np.array_equal(device.predict(inputs[:2])[1], outputs[1])


def test_a_stream_that_is_closed_leaves_nothing_behind(build):
    inputs, outputs = asked(build)
    line = line_of(build)
    device = Device(line, build)
    stream = device.stream(inputs)
    assert np.array_equal(next(stream), outputs[0])
    with pytest.raises(DarbError, match="other outputs are still on their way"):
        device.predict(inputs[:1])
    stream.close()
    assert not line.out
    assert np.array_equal(device.predict(inputs[:1])[0], outputs[0])
    assert device.repeated == 0


def test_sets_of_tasks(build):
    device, (inputs, outputs) = Device(line_of(build), build), asked(build)
    count = build.plan.tasks
    for tasks in (1 << count, 300, -1, 1.5, [0, 1 << count]):
        with pytest.raises(DarbError, match="tasks"):
            device.predict(inputs[:2], tasks)
    with pytest.raises(DarbError, match="3 sets of tasks for 2 inputs"):
        device.predict(inputs[:2], [0, 0, 0])
    assert np.array_equal(device.predict(inputs[:2], np.int64(0))[1], outputs[1])


def test_some_of_the_tasks(build):
    """The set comes before the elements; the output has the elements of these tasks."""
    plan = build.plan
    if not plan.tasks:
        return
    shape, (inputs, outputs) = pretend(build, 4096), asked(build)
    elements = elements_of(plan.network, 1)
    seen = []

    def answers(payload: bytes) -> bytes:
        seen.append(payload[: shape.task_bytes])
        return little(outputs[len(seen) - 1].reshape(-1)[elements], shape.output_bytes)

    got = Device(PretendedLine(build, shape, answers), build).predict(inputs[:3], 1)
    assert np.array_equal(got, np.array(outputs[:3])[:, elements])
    assert set(seen) == {(1).to_bytes(shape.task_bytes, "little")}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two networks for an engine that can exchange them, and one for another engine."""
    builds = []
    for name, sizes, change in (("a", (9, 11, 4), False), ("b", (9, 11, 4), True), ("c", (9, 12, 4), False)):
        random = random_network(5, sizes=sizes)
        random = twin(random) if change else random
        vectors = random.vectors(random_inputs(5, random.network, 30), None)
        folder = tmp_path_factory.mktemp(name)
        builds.append(generate(random.network, EngineConfig(lanes=2, reload=True), folder, vectors))
        pretend(builds[-1], 16)
    return builds


@pytest.mark.parametrize(("damage", "lost"), [(0, 0), (0.2, 0), (0, 2), (0.1, 2)])
def test_another_network_comes_in_pieces(pair, damage, lost):
    """What is damaged is sent again, and what the board has lost as well."""
    first, second, _ = pair
    line = PretendedLine(first, pretend(first, 16), None, damage=damage, seed=3)
    line.lost = lost
    steps = []
    with DeviceItself(line, first, seconds=0.01, attempts=20) as device:
        device.reload(second, steps.append)
        assert device.info.digest == second.digest[:16]
    assert bytes(line.loaded[8:]) == reload_bytes(second.plan)
    assert sum(steps) == reload_size(second.plan) + 8
    assert line.lost == 0
    with pytest.raises(
        DarbError,
        match=rf"another bitstream or network .*: send it with darb host reload {first.folder} .* --port line",
    ):
        DeviceItself(line, first, seconds=0.01, attempts=20)
    line.damage = 0
    with DeviceItself(line, first, seconds=0.01, other=True) as device:
        device.reload(first)


def test_networks_for_other_engines_are_refused(pair, build):
    first, _, third = pair
    line = PretendedLine(first, pretend(first, 16), None)
    with DeviceItself(line, first, seconds=0.01) as device:
        with pytest.raises(DarbError, match=r"the board has another engine \(\w{16}\) than"):
            device.reload(third)
        with pytest.raises(DarbError, match=r"takes no other networks: .* darb verilog --reload"):
            device.reload(build)
        assert not line.loaded


def test_a_network_that_the_board_refuses(pair, monkeypatch):
    first, second, _ = pair
    line = PretendedLine(first, pretend(first, 16), None)
    wrong = reload_bytes(second.plan)[:-1] + b"x"
    monkeypatch.setattr("darb_hw.link.network.reload_bytes", lambda plan: wrong)
    with DeviceItself(line, first, seconds=0.01) as device:
        with pytest.raises(DarbError, match="has refused the network: load the bitstream"):
            device.reload(second)
        assert device.info.digest == first.digest[:16]


def test_a_wrong_output_fails_the_self_test(build):
    line = line_of(build)
    device, right = Device(line, build), line.answers
    line.answers = lambda payload: bytes([right(payload)[0] ^ 1]) + right(payload)[1:]
    with pytest.raises(DarbError, match="sample 0: the board and the oracle differ at"):
        self_test(device, build)


def test_a_port_that_does_not_exist(build):
    pretend(build, 4096)
    with pytest.raises(DarbError, match=r"/dev/no-such-port: cannot be opened .*; ports here:"):
        Device("/dev/no-such-port", build)


def test_a_build_without_bitstream(build):
    shutil.rmtree(build.folder / FOLDER, ignore_errors=True)
    with pytest.raises(DarbError, match="make the bitstream with darb board"):
        Device("/dev/no-such-port", build)


def test_the_pace(build):
    line = line_of(build)
    size = line.shape.output_bytes * build.plan.output_size
    line.answers = lambda payload: bytes(size)
    pace = Device(line, build).measure(25)
    assert pace.samples == 25
    assert pace.rate > 0
    assert pace.latency > 0


def test_the_face():
    assert Device is DeviceItself
