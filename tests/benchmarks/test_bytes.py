"""Digests of everything generated: the same twice, and a changed byte is named."""

import json

import pytest
from typer.testing import CliRunner

from benchmarks import bytes as digests
from tests.random_engines import kind_of


def run(*arguments):
    return CliRunner().invoke(digests.app, [*map(str, arguments), "--jobs", "1"])


def test_the_same_network_gives_the_same_bytes(tmp_path):
    path = tmp_path / "before.json"
    done = run("-o", path, "--networks", 1)
    assert done.exit_code == 0, done.output
    before = json.loads(path.read_text())
    names = {"network.darb", "engine.v", "primitives.v", "manifest.json", "rom/weights.hex", "rom/rows.hex"}
    assert names <= before["0-convolution"].keys()
    done = run("--against", path)
    assert done.exit_code == 0, done.output
    assert done.output == f"1 networks, {len(before['0-convolution'])} files: 0 differ\n"

    before["0-convolution"]["engine.v"] = "0" * 64
    path.write_text(json.dumps(before))
    done = run("--against", path)
    assert done.exit_code == 1
    assert done.output.splitlines()[0] == "0-convolution: engine.v differs"
    assert done.output.endswith(": 1 differ\n")


def test_a_changed_byte_is_named(tmp_path):
    assert kind_of(4) == "chain"
    digests.write(4, tmp_path)
    before = {digests.title(4): digests.digests_of(tmp_path)}
    for name in ("engine.v", "rom/weights.hex"):
        path = tmp_path / name
        text = path.read_bytes()
        path.write_bytes(bytes([text[0] ^ 1]) + text[1:])
        after = {digests.title(4): digests.digests_of(tmp_path)}
        assert digests.differences(before, after) == [f"4-chain: {name} differs"]
        path.write_bytes(text)
    (tmp_path / "rom" / "weights.hex").rename(tmp_path / "rom" / "other.hex")
    after = {digests.title(4): digests.digests_of(tmp_path)}
    assert digests.differences(before, after) == [
        "4-chain: rom/other.hex is new",
        "4-chain: rom/weights.hex is missing",
    ]
    assert digests.differences(before, {}) == [f"4-chain: {name} is missing" for name in sorted(before["4-chain"])]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give -o FILE to write digests"),
        (["--against", "none.json"], "none.json: not a file of digests"),
        (["--against", "empty.json", "--networks", "2"], "--networks 2: empty.json has 0"),
    ],
)
def test_what_cannot_be_compared(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.json").write_text("{}")
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in done.output
