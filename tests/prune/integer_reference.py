"""``docs/arithmetic.md`` read word by word: plain Python integers, one element at a time."""

import math
from types import SimpleNamespace


def table(name: str) -> list[int]:
    if name == "sigmoid":
        return [min(round(2**15 / (1 + math.exp(-index / 16))), 32767) for index in range(-128, 128)]
    return [min(max(round(2**15 * math.tanh(index / 32)), -32767), 32767) for index in range(-128, 128)]


TANH = table("tanh")


def _softplus(x: float) -> float:
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


def _selu(x: float) -> float:
    return 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * math.expm1(x))


CURVES = {
    "leaky_relu": lambda x: x if x > 0 else 0.2 * x,
    "prelu": lambda x: x if x > 0 else 0.25 * x,
    "elu": lambda x: x if x > 0 else 0.7 * math.expm1(x),
    "selu": _selu,
    "silu": lambda x: x / (1 + math.exp(-x)),
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "mish": lambda x: x * math.tanh(_softplus(x)),
    "softplus": _softplus,
    "hardswish": lambda x: x * min(max(x + 3, 0), 6) / 6,
}
"""Functions of one value whose tables are calibrated."""


def clamp(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


def shift(value: int, by: int) -> int:
    """Arithmetic: floor division."""
    return value // 2**by


class Map:
    """A feature map; what lies outside is 0."""

    def __init__(self, shape: tuple[int, int, int], values: list[int] | None = None):
        self.channels, self.height, self.width = shape
        self.values = [0] * (self.channels * self.height * self.width) if values is None else list(values)

    def place(self, c: int, y: int, x: int) -> int:
        return (c * self.height + y) * self.width + x

    def get(self, c: int, y: int, x: int) -> int:
        inside = 0 <= y < self.height and 0 <= x < self.width
        return self.values[self.place(c, y, x)] if inside else 0


def matrix(stage, target, values: dict[str, Map]) -> None:
    """One layer, written into ``values``."""
    old = values.get(stage.output)
    out = Map(target.shape)  # the layer may read what its output held before
    out.values = list(out.values if old is None else old.values)
    pool_y, pool_x = stage.pool
    weights = [weight.tolist() for weight in stage.weights]
    if stage.transposed:  # results of a row are neighbours as they are stored, channels innermost
        positions = stage.transposed[0] * stage.transposed[1]
        for r in range(stage.rows):
            for p in range(positions):
                value = element(stage, target, weights, values, r, *divmod(p, stage.transposed[1]))
                pixel, channel = divmod((stage.first + r) * positions + p, out.channels)
                out.values[channel * out.height * out.width + pixel] = value
        values[stage.output] = out
        return
    for r in range(stage.rows):
        for y in range(out.height):
            for x in range(out.width):
                best = max(
                    element(stage, target, weights, values, r, y * pool_y + v, x * pool_x + u)
                    for v in range(pool_y)
                    for u in range(pool_x)
                )
                place = out.place(stage.first + r, y, x)
                assert not (stage.maximum and old is None)
                out.values[place] = max(best, out.values[place]) if stage.maximum else best
    values[stage.output] = out


def element(stage, target, weights, values: dict[str, Map], r: int, y: int, x: int) -> int:
    acc = int(stage.bias[r])
    for name, weight in zip(stage.inputs, weights, strict=True):
        source = values[name]
        if stage.window is None:
            acc += sum(w * a for w, a in zip(weight[r], source.values, strict=True))
            continue
        window = stage.window
        for c, kernel in enumerate(weight[r]):
            channel = r if window.depthwise else c
            for v, line in enumerate(kernel):
                for u, w in enumerate(line):
                    row = y * window.stride[0] - window.padding[0] + window.offset[0] + v * window.dilation[0]
                    column = x * window.stride[1] - window.padding[1] + window.offset[1] + u * window.dilation[1]
                    acc += w * source.get(channel, row, column)
    by = int(stage.shift[r])
    value = shift(acc * int(stage.mult[r]) + 2 ** (by - 1), by)
    if stage.function is not None and stage.function[r]:
        value = int(stage.tables[stage.function[r] - 1][clamp(value, -128, 127) + 128])
    if stage.operand is not None:
        other, channel = values[stage.operand.value], r - stage.operand.first
        if 0 <= channel < other.channels:
            value += other.get(channel, y * stage.operand.stride[0], x * stage.operand.stride[1])
    value = clamp(value, *stage.clamp)
    if stage.product is not None:
        channel, strides = r - stage.product.first, stage.product.stride
        factor = values[stage.product.value].get(channel, y * strides[0], x * strides[1])
        value = clamp(shift(value * factor + 2**10, 11), target.qmin, target.qmax)
    return value


def lstm(gates: list[int], c: list[int], bits: int, qmin: int, qmax: int) -> tuple[list[int], list[int]]:
    n = len(c)
    outputs, states = [], []
    for unit in range(n):
        i, f, g, o = (gates[gate * n + unit] for gate in range(4))
        state = clamp(shift(f * c[unit] * 16 + i * g + 2**18, 19), -32768, 32767)
        t = TANH[clamp(shift(state + 32, 6), -128, 127) + 128]
        outputs.append(clamp(shift(o * t + 2 ** (30 - bits), 31 - bits), qmin, qmax))
        states.append(state)
    return outputs, states


def gru(gates: list[int], s: list[int], bits: int, qmin: int, qmax: int) -> tuple[list[int], list[int]]:
    n = len(s)
    outputs, states = [], []
    for unit in range(n):
        r, z, n_x, n_h = (gates[gate * n + unit] for gate in range(4))
        new = TANH[clamp(shift(n_x * 2**15 + r * n_h + 2**20, 21), -128, 127) + 128]
        state = new + shift(z * (s[unit] - new) + 2**14, 15)
        rounded = state if bits == 16 else shift(state + 2 ** (15 - bits), 16 - bits)
        outputs.append(clamp(rounded, qmin, qmax))
        states.append(state)
    return outputs, states


def stage_of(network, stage, shape, values: dict[str, Map], states: dict[str, list[int]]) -> None:
    """What a layer, a cell or an embedding writes, as a map of ``shape``."""
    target = network.tensors[stage.output]
    if hasattr(stage, "gates"):
        update = lstm if stage.kind == "lstm" else gru
        output, states[stage.name] = update(
            values[stage.gates].values, states[stage.name], target.bits, target.qmin, target.qmax
        )
        values[stage.output] = Map(shape, output)
    elif hasattr(stage, "table"):
        rows = [stage.table[symbol].tolist() for symbol in values[network.input].values]
        if shape[2] > 1:  # columns of a map
            rows = zip(*rows, strict=True)
        values[stage.output] = Map(shape, [value for row in rows for value in row])
    else:
        matrix(stage, SimpleNamespace(shape=shape, qmin=target.qmin, qmax=target.qmax), values)


def states_of(network, stages) -> dict[str, list[int]]:
    """States of cells at the first step."""
    return {
        stage.name: [0] * network.tensors[stage.output].shape[0] if stage.state is None else stage.state.tolist()
        for stage in stages
        if hasattr(stage, "gates")
    }


def columns(network, section, values: dict[str, Map]) -> None:
    """A section: its layers at one column after another."""
    inside = network.stages[section.first : section.stop]
    made = {stage.output: Map(network.tensors[stage.output].shape) for stage in inside}
    states, before, width = states_of(network, inside), {}, next(iter(made.values())).width
    for name in made:
        initial = network.tensors[name].initial
        before[name] = Map((made[name].channels, 1, 1), None if initial is None else initial.tolist())
    for step in range(width):
        x = width - 1 - step if section.backward else step
        now = dict(before)
        for name, value in values.items():
            if value.width == width:
                cells = [value.get(c, y, x) for c in range(value.channels) for y in range(value.height)]
                now[name] = Map((value.channels, value.height, 1), cells)
        for stage in inside:
            stage_of(network, stage, (network.tensors[stage.output].shape[0], 1, 1), now, states)
        before = {name: now[name] for name in made}
        for name, value in made.items():
            for c in range(value.channels):
                value.values[value.place(c, 0, x)] = now[name].values[c]
    values.update(made)


def run(network, sequence: list[list[int]]) -> list[dict[str, list[int]]]:
    """All tensors at every step of one sequence."""
    held = {}
    for name in () if network.sections else network.delayed:
        tensor = network.tensors[name]
        held[name] = Map(tensor.shape, None if tensor.initial is None else tensor.initial.tolist())
    states = states_of(network, network.stages)
    frames = []
    for frame in sequence:
        values = {network.input: Map(network.tensors[network.input].shape, frame), **held}
        for stage_number, stage in enumerate(network.stages):
            for section in network.sections:
                if section.first == stage_number:
                    columns(network, section, values)
            if not any(section.first <= stage_number < section.stop for section in network.sections):
                stage_of(network, stage, network.tensors[stage.output].shape, values, states)
        held = {name: values[name] for name in held}
        frames.append({name: value.values for name, value in values.items()})
    return frames
