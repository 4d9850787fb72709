"""``darb search`` from a run folder to an engine that was simulated. Stand-ins take the place of Yosys and nextpnr."""

import json
import subprocess
import sys

import pytest

from darb_hw.emit import Build
from darb_prune.encoded import EncodedNetwork


@pytest.mark.simulator
def test_from_a_run_folder_to_an_engine(log, darb, tmp_path, monkeypatch):
    monkeypatch.setenv("DARB_STORE", str(tmp_path / "store"))
    train = ["train", "--task", "digits", "--epochs", "6", "--size", "0.25", "-o", tmp_path / "run", "-q"]
    subprocess.run([sys.executable, "-m", "darb_hw.program", *train], check=True, capture_output=True)
    arguments = [
        "search", tmp_path / "run", "-o", tmp_path / "out", "--device", "ice40-hx8k", "--max-loss", "50%",
        "--aim", "rate", "--ratio", "1", "--weight-bits", "4", "--lanes", "2,64", "--trials", "2", "--finalists", "1",
        "--seeds", "1", "--jobs", "1",
    ]  # fmt: skip
    code, out, err = darb(*arguments)
    assert (code, err) == (0, "")
    assert "2 tried: " in out
    said = json.loads((tmp_path / "out" / "search.json").read_text())
    (large,) = (one for one in said["tried"] if one["candidate"]["lanes"] == 64)
    assert large["loss"] is None  # it does not fit, so nothing was trained for it
    assert said["answer"] == {
        "method": "darb", "ratio": 1, "weight_bits": 4, "activation_bits": 8, "device": "ice40-hx8k", "lanes": 2,
        "size": 1,
    }  # fmt: skip
    (verified,) = said["verified"]
    assert verified["verdict"] == "the answer"
    answer = tmp_path / "out" / "answer"
    network = EncodedNetwork.load(answer / "network.darb")
    assert network.provenance["accuracy"] == verified["accuracy"]
    assert Build.load(answer / "build").plan.source.digest == network.digest
    assert (answer / "build" / "synth" / "report.json").is_file()
    code, again, _ = darb(*arguments)
    assert code == 0
    assert again.split("verified")[1:] == out.split("verified")[1:]
