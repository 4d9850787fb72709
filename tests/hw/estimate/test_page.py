"""The page of a fit."""

from dataclasses import replace

from darb_hw.estimate.fit import fit
from darb_hw.estimate.model import Model
from darb_hw.estimate.page import write_fit, write_page
from darb_hw.estimate.sample import read_samples
from tests.hw.estimate.made import made_samples


def test_page(tmp_path):
    samples = made_samples(noise=0.1)
    samples[5] = replace(samples[5], block_rams=5)
    result = fit(samples)
    write_page(result, tmp_path, "darb refit")
    text = (tmp_path / "estimates.md").read_text()
    assert "48 designs of 6 networks went through Yosys, and 24 of them through place and route." in text
    figure = result.model.areas["luts"]["ice40"]
    assert f"| LUT4 | ice40 | 24 | 6 | {100 * figure.median_error:.1f} % |" in text
    assert "| block RAMs | ecp5 | 24 | 24 (100.0 %) | 0 |" in text
    assert "| block RAMs | ice40 | 24 | 23 (95.8 %) | 2 |" in text
    assert f"| network 0 | {samples[5].device} | {samples[5].lanes} | 5, 1 | 3, 1 |" in text
    assert (tmp_path / "estimates.png").read_bytes().startswith(b"\x89PNG")


def test_fit_files(tmp_path):
    result = fit(made_samples())
    write_fit(result, tmp_path)
    assert Model.load(tmp_path / "model.json") == result.model
    assert read_samples(tmp_path / "samples.csv") == list(result.samples)
