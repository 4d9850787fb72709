"""The picture of a sweep."""

import struct

import pytest
from matplotlib.axes import Axes

from darb_hw.sweep.plot import plot
from tests.hw.sweep.sample_results import a_result


@pytest.mark.parametrize(("count", "labelled"), [(0, 0), (1, 1), (24, 24), (48, 12)])
def test_plot(tmp_path, monkeypatch, count, labelled):
    path, notes = tmp_path / "sweep.png", []
    real = Axes.annotate
    monkeypatch.setattr(Axes, "annotate", lambda axes, *rest, **more: notes.append(rest) or real(axes, *rest, **more))
    results = [
        a_result(lanes=lanes, device=device, bits=bits, luts=600 + 70 * lanes * bits // 8, cycles=200 + 4000 // lanes)
        for device in ("ecp5-25k", "ecp5-85k", "ice40-hx8k", "ice40-up5k")
        for bits in (4, 8)
        for lanes in (4, 8, 16)
    ]
    results += [a_result(lanes=4, device="ecp5-25k", bits=8, luts=2000 + number, cycles=9000) for number in range(24)]
    plot(results[:count] + [a_result(reason="no")], path)
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", data[16:24])
    assert len(notes) == labelled  # of many points those of the fronts alone
    assert width >= 1000
    assert height >= 600
