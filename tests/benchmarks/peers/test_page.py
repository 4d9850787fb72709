"""The page and its plots."""

from benchmarks.peers import ladder, measure, page
from benchmarks.peers.results import PeerResults
from tests.benchmarks.peers.small_results import small_results


def test_page(tmp_path):
    results = small_results()
    page.write(results, tmp_path / "peers.json")
    text = (tmp_path / "peers.md").read_text()
    assert (
        "| linear-16 | darb, 4 lanes | 500 | 90 | 1 | 0 | 110.0 (100 to 120) | 3 | 90 | 50 | 2,200,000 | 4,400.0 |"
        in text
    )
    assert "| linear-16 | alkaid | 2,000 | 90 | 1 | 0 | 80.0 | 1 | 7 | 1 | 80,000,000 | 40,000.0 |" in text
    assert "- linear-99, alkaid: does not fit: too many luts; 99,999 LUT4 and 90 FF after synthesis" in text
    # alkaid: 4 times the LUTs, 80 to 2.2 million a second; behind a stream of 16 elements 5 million.
    assert "| linear-16 | 4.0 | 36 | 9.1 | 2.27 |" in text
    largest = "linear-16 (256 weights, 32 kept)", "linear-99 (9,801 weights, 1,225 kept)"
    assert f"| alkaid | {largest[0]} | {largest[0]} | {largest[1]} |" in text
    assert f"| darb | {largest[1]} | {largest[1]} | {largest[1]} |" in text
    assert "| linear-16 | alkaid | 100 | 1,600 | 0 |" in text
    assert "| linear-99 | alkaid | – | the simulation did not finish | – |" in text
    assert "alkaid 9" in text
    for name in ("peers-area.png", "peers-size.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
        assert f"]({name})" in text


def test_page_says_which_rows_are_missing(tmp_path):
    results = PeerResults()
    page.write(results, tmp_path / "peers.json")
    text = (tmp_path / "peers.md").read_text()
    large = "linear-128, linear-256, linear-1024, linear-2048\n"
    assert f"- darb, not measured yet: linear-16, linear-32, linear-64, {large}" in text
    assert f"- nngen, not measured yet: {large}" in text
    assert "Rows are missing still" in text
    for size in ladder.SIZES:
        rows = {tool: {"tool": tool, "identity": {}, "fmax_mhz": {}} for tool in measure.TOOLS}
        results.networks[f"linear-{size}"] = {"shape": [size, size], "weights": 1, "kept": 1, "rows": rows}
    page.write(results, tmp_path / "peers.json")
    text = (tmp_path / "peers.md").read_text()
    assert "not measured yet" not in text
    assert "Rows are missing still" not in text
    assert "None." in text
