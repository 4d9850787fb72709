"""What the ways of computing have in common: codes, the controls of lanes, and sums on their way to the drain."""

from typing import TypeVar

from amaranth.hdl import Cat, Module, Value

from darb_hw.device.pipeline import delay, fanout_to
from darb_hw.engine.codes import Codes
from darb_hw.engine.drain import Drain
from darb_hw.engine.loader import Loader
from darb_hw.engine.planned import Planned
from darb_hw.engine.sequencer import Sequencer
from darb_hw.plan.plan import Plan

__all__ = ["Datapath"]

_TREE = 2
"""Levels of the trees of registers through which control reaches the lanes."""
_Reader = TypeVar("_Reader", bound=Planned)


class Datapath:
    """The parts of an engine from the sequencer on, up to the sender. They stand in the module of the engine.

    Parameters
    ----------
    plan : Plan
    m : Module
        Of the engine.
    loader : Loader
    sequencer : Sequencer

    Attributes
    ----------
    readers : list of Planned
        The parts that read ROMs.
    """

    def __init__(self, plan: Plan, m: Module, loader: Loader, sequencer: Sequencer) -> None:
        self._plan, self._m, self._loader, self._sequencer = plan, m, loader, sequencer
        self.readers: list[Planned] = []

    def _reading(self, part: _Reader) -> _Reader:
        """A part that reads ROMs."""
        self.readers.append(part)
        return part

    def _codes(self) -> Codes:
        """The ROMs of codes, read step by step."""
        m, sequencer = self._m, self._sequencer
        m.submodules.codes = codes = self._reading(Codes(self._plan))
        wait = self._plan.latency.issue - 1
        m.d.comb += [
            codes.restart.eq(delay(m, sequencer.begin, wait, "restart", control=True)),
            codes.step.eq(sequencer.step),
        ]
        if self._plan.network.sections:
            m.d.comb += [
                codes.enter.eq(delay(m, sequencer.enter, wait, "enter", control=True)),
                codes.again.eq(delay(m, sequencer.again, wait, "again", control=True)),
            ]
        if "jumps" in self._plan.images:
            assert wait == 1  # `jump` comes a cycle behind the begin of its word
            m.d.comb += [codes.jump.eq(sequencer.jump), codes.target.eq(sequencer.target)]
        return codes

    def _steered(self, value: Value, after: int, name: str, lanes_each: int, control: bool = False) -> list[Value]:
        """``value``, ``after`` cycles later, for each lane: from a register for every ``lanes_each`` lanes."""
        late = delay(self._m, value, after - _TREE, name, control=control)
        return fanout_to(self._m, late, self._plan.config.lanes, lanes_each, name, cycles=_TREE)

    def _controls(self) -> tuple[list[Value], list[Value]]:
        """``enable`` and ``clear`` of each lane. An accumulator changes a cycle after its control."""
        step, after = self._sequencer.step, self._plan.latency.lane - 1
        enable = self._steered(step.valid, after, "enable", 2, control=True)
        return enable, self._steered(step.first, after, "clear", 2)

    def _capture(self, accumulators: list[Value], drain: Drain) -> None:
        """The drain takes the sums of a group."""
        # The last step of a group reaches the accumulators ``lane`` cycles later; capture comes ``1 + early`` before.
        m, step, latency = self._m, self._sequencer.step, self._plan.latency
        ends = latency.lane - 1 - latency.early
        m.d.comb += [
            drain.capture.eq(delay(m, step.valid & step.last, ends, "capture", control=True)),
            drain.context.eq(delay(m, step.context, ends, "context")),
            Value.cast(drain.accumulators).eq(Cat(accumulators)),
        ]
