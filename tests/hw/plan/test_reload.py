"""Another network as bytes: what it fills, and in which order."""

import zlib

import numpy as np
import pytest

from darb_hw.config import EngineConfig
from darb_hw.emit import generate
from darb_hw.errors import PlanError
from darb_hw.plan.plan import Plan
from darb_hw.plan.reload import contents, fixed, kept_places, reload_bytes, reload_size, reloadable
from darb_hw.plan.resources import by_memory
from darb_prune.encoded import DarbError
from tests.families import member
from tests.networks import KINDS, random_network


def plan_of(kind: str, reload: bool = True) -> Plan:
    return Plan.make(random_network(1, kind).network, EngineConfig(3, reload=reload))


@pytest.mark.parametrize("kind", ["chain", *KINDS])
def test_every_image_is_filled_or_stays(kind):
    plan = plan_of(kind)
    assert {*reloadable(plan), *fixed(plan)} == set(plan.images)
    assert {"weights", "program", "rows"} <= set(reloadable(plan))
    assert set(fixed(plan)) <= {"activations", "cell_state", "cell_tanh"}


@pytest.mark.parametrize("kind", ["chain", "lstm"])
def test_bytes_are_words_and_a_check_sum(kind):
    plan = plan_of(kind)
    data = reload_bytes(plan)
    assert len(data) == reload_size(plan)
    assert int.from_bytes(data[-4:], "little") == zlib.crc32(data[:-4])
    start = 0
    for name in reloadable(plan):
        image = plan.images[name]
        size = -(-image.width // 8)
        words = [data[at : at + size] for at in range(start, start + size * image.depth, size)]
        assert [int.from_bytes(word, "little") for word in words] == image.integers()
        start += size * image.depth
    assert start == len(data) - 4


def test_a_rom_has_room_for_as_much_again():
    plan = plan_of("chain")
    held = contents(plan, "rows")
    assert held.depth == 2 * plan.images["rows"].depth
    assert np.array_equal(held.words[::2], plan.images["rows"].words)
    assert not held.words[1::2].any()


def test_without_reload_nothing_is_filled():
    plan = plan_of("chain", reload=False)
    assert reloadable(plan) == ()
    assert reload_size(plan) == 0
    assert contents(plan, "rows") is plan.images["rows"]


def test_a_manifest_names_reload_only_where_it_is():
    config = EngineConfig(reload=True)
    assert EngineConfig(**config.as_dict()) == config
    assert "reload" not in EngineConfig().as_dict()


def test_written_blocks_have_no_words_of_36_bits():
    """256 words of 36 bits fit one block of a ROM; twice as many that are written take two."""
    random = random_network(0, sizes=(100, 300, 4))
    plans = [Plan.make(random.network, EngineConfig(4, "ecp5-25k", reload=reload)) for reload in (False, True)]
    rows = [plan.images["rows"] for plan in plans]
    assert 18 < rows[0].width <= 72
    assert 256 < rows[0].depth <= 512
    columns = -(-rows[0].width // 18)
    assert [by_memory(plan)["ROM rows"] for plan in plans] == [-(-rows[0].width // 36), columns]


def test_zeros_around_maps_stay_where_they_are(tmp_path):
    """A smaller map has the room, and the same Verilog, but its zeros lie where the other network has written."""
    config = EngineConfig(2, "ecp5-25k", reload=True)
    first = generate(member("6 channels", 0)[0], config, tmp_path / "a", headroom=1)
    assert kept_places(first.plan)
    same = generate(member("6 channels", 1)[0], None, tmp_path / "b", like=first)
    assert same.engine_digest == first.engine_digest
    for both in ({"config": config}, {"config": None, "headroom": 1.0}):
        with pytest.raises(DarbError, match="give one of the two"):
            generate(first.plan.network, folder=tmp_path / "c", like=first, **both)
    with pytest.raises(DarbError, match="give one of the two"):
        generate(first.plan.network, None, tmp_path / "c")
    with pytest.raises(PlanError, match=r"places of what memory holds at power-up: .* make a build of its own"):
        generate(member("5 channels", 1)[0], None, tmp_path / "c", like=first)
    other = generate(member("5 channels", 1)[0], config, tmp_path / "d")
    assert other.engine_digest != first.engine_digest
    # Memory of a board that is loaded anew begins with zeros everywhere.
    plain = generate(member("6 channels", 0)[0], EngineConfig(2, "ecp5-25k"), tmp_path / "e", headroom=1)
    assert generate(member("5 channels", 1)[0], None, tmp_path / "f", like=plain).plan.capacity is not None
