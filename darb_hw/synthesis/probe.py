"""What a device allows: one lane without control, placed and routed on its own."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from darb_hw.config import DEVICES, Target
from darb_hw.device.memory import Ram, Rom
from darb_hw.device.multiplier import Multiplier
from darb_hw.device.pipeline import delay
from darb_hw.device.verilog import verilog_with_primitives
from darb_hw.errors import ToolError
from darb_hw.jobs.flow import Flow, outcome
from darb_hw.jobs.threads import ThreadPool
from darb_hw.plan.image import Field, Image, pack, signed_bits
from darb_hw.plan.styles import MultiplierStyle, limbs_of
from darb_hw.store.store import Store
from darb_hw.synthesis import tools
from darb_hw.synthesis.boards import constraints_file
from darb_hw.synthesis.route import fmax_of, route_of
from darb_hw.synthesis.synth import SEEDS
from darb_hw.synthesis.yosys import Synthesis, yosys_script

__all__ = ["ProbeLane", "limit_probe"]

_CODES = 1024
_ACTIVATIONS = 1024
_INDEX = 10
_BITS = 8


class ProbeLane(wiring.Component):
    """Code ROM, register, activation RAM, multiplier, accumulator; nothing that decides.

    A counter reads the codes, and what is written comes from a shift register: a device has few pins.

    Parameters
    ----------
    style : MultiplierStyle
    weight_bits : int

    Members
    -------
    i : In(1)
        Shifted into what is written.
    o : Out(1)
        Sign of the accumulator.
    """

    i: Signal
    o: Signal

    def __init__(self, style: MultiplierStyle, weight_bits: int = _BITS) -> None:
        self._style, self._bits = style, weight_bits
        rng = np.random.default_rng(0)
        half = 1 << weight_bits - 1
        fields = {
            Field("index", _INDEX): rng.integers(0, _ACTIVATIONS, _CODES),
            Field("weight", weight_bits, True): rng.integers(-half, half, _CODES),
        }
        self._image = pack("codes", fields)
        super().__init__({"i": In(1), "o": Out(1)})

    @property
    def image(self) -> Image:
        return self._image

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.codes = codes = Rom(self._image)
        m.submodules.activations = activations = Ram(_BITS, _ACTIVATIONS)
        m.submodules.multiplier = multiplier = Multiplier(_BITS, self._bits, self._style)
        step = Signal(_INDEX)
        written = Signal(1 + _INDEX + _BITS, reset_less=True)
        code = delay(m, codes.data[0].as_value(), 1, "code")
        index, weight = code[:_INDEX], code[_INDEX:].as_signed()
        # The longest sum: as many products as there are codes.
        bits = signed_bits(-_CODES << (_BITS + self._bits - 2), _CODES << (_BITS + self._bits - 2))
        accumulator = Signal(signed(bits), reset_less=True)
        m.d.sync += [
            step.eq(step + 1),
            written.eq((written << 1) | self.i),
            accumulator.eq(accumulator + multiplier.o),
            self.o.eq(accumulator[-1]),
        ]
        m.d.comb += [
            codes.address.eq(step),
            activations.write_enable.eq(written[0]),
            activations.write_address.eq(written[1 : 1 + _INDEX]),
            activations.write_data.eq(written[1 + _INDEX :]),
            activations.read_enable.eq(1),
            activations.output_enable.eq(1),
            activations.read_address.eq(index),
            multiplier.a.eq(activations.read_data.as_signed()),
            multiplier.b.eq(delay(m, weight, activations.latency, "weight")),
        ]
        return m


def limit_probe(
    device: str,
    seeds: Sequence[int] = SEEDS,
    jobs: int | None = None,
    weight_bits: int = _BITS,
    mhz: float = 400.0,
    store: Store | None = None,
) -> dict[int, float]:
    """Fmax of one lane without control on ``device``: the limit that an engine of many lanes can be compared with.

    The lane has a DSP block where the device has some.

    Parameters
    ----------
    device : str
        A key of :data:`DEVICES`.
    seeds : sequence of int
        One place-and-route run each.
    jobs : int, optional
        Runs at a time; by default as many as there are processors.
    weight_bits : int
    mhz : float
        Clock that place and route aims for, out of reach.
    store : Store, optional
        ``$DARB_STORE``, or that of the user, if absent.

    Returns
    -------
    dict of int to float
        MHz, by seed.

    Raises
    ------
    ToolError
        If a tool is missing or fails.
    """
    target = DEVICES[device]
    style = limbs_of(weight_bits, target.dsps > 0, target.dsp_bits)
    lane = ProbeLane(style, weight_bits)
    text, primitives = verilog_with_primitives(lane, "probe", target)
    files = {"probe.v": text.encode(), "rom/codes.hex": lane.image.hex().encode()}
    if primitives:
        files["primitives.v"] = primitives.encode()
    script = yosys_script(target, "probe", "probe.v", "primitives.v" if primitives else None, style.dsp)
    store = store or Store()
    with ThreadPool(jobs or os.cpu_count() or 1, store) as pool:
        return outcome(_clocks(replace(target, target_mhz=mhz), files, script, seeds), pool, store)


def _clocks(target: Target, files: dict[str, bytes], script: str, seeds: Sequence[int]) -> Flow[dict[int, float]]:
    nextpnr = tools.nextpnr(target.family)
    # Files for other families name a frequency, which is not that of ``target``.
    pins = constraints_file(target) if target.needs_pins else None
    constraints = pins.read_bytes() if pins else None
    (made,) = yield [Synthesis(files, script, tools.yosys().version, f"one lane, {target.name}")]
    if made.failure:
        raise ToolError(made.failure)
    netlist = made.files["design.json"]
    placed = yield [
        route_of(nextpnr, target, "probe", seed, netlist, constraints, f"one lane, {target.name}") for seed in seeds
    ]
    for entry in placed:
        if entry.failure:
            raise ToolError(entry.failure)
    reports = {seed: json.loads(entry.files["report.json"]) for seed, entry in zip(seeds, placed, strict=True)}
    return {seed: round(fmax_of(report), 3) for seed, report in reports.items()}
