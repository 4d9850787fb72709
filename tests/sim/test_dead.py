"""Networks without their dead channels, in simulation."""

import pytest

from darb_hw.config import EngineConfig
from darb_prune.integer.dead import without_dead
from darb_prune.integer.encoder import encode
from sim.launch import simulate
from sim.scenario import Scenario
from tests.prune.integer.test_dead import separable, without_columns
from tests.prune.integer_networks import inputs

pytestmark = pytest.mark.simulator


@pytest.mark.parametrize("positions", [1, 4])
def test_fewer_channels_are_exact(positions, make_build):
    """Outputs of the whole network, from an engine that has a quarter of the channels."""
    network = separable(0)
    without_columns(network, "pointwise", [0, *range(4, 16)])
    living = without_dead(network)
    assert living.removed >= 2 * 13
    x = inputs(network, 2)
    encoded = encode(living.network)
    vectors = living.network.vectors(encoded, x.double() * network.tensors["input"].scale)
    assert (vectors.tensors["out"] == network(x).numpy()).all()
    build = make_build(f"dead-{positions}", encoded, vectors, EngineConfig(lanes=4, positions=positions))
    (report,) = simulate(build, "icarus", [Scenario((0, 1))])
    assert report.mismatch is None
