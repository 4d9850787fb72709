import copy
import hashlib
import json
import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from darb_hw.config import EngineConfig
from darb_hw.emit import Build, generate, manifest_bytes
from darb_hw.plan import metrics
from darb_prune.encoded import DarbError
from tests.networks import random_inputs, random_network


@pytest.fixture(scope="module")
def random():
    return random_network(71, sizes=(12, 9, 4))


@pytest.fixture(scope="module")
def made(random, tmp_path_factory):
    vectors = random.vectors(random_inputs(0, random.network, 3))
    return generate(random.network, EngineConfig(lanes=2), tmp_path_factory.mktemp("made") / "b", vectors)


@pytest.fixture
def build(made, tmp_path):
    """A copy, which a test may change."""
    folder = shutil.copytree(made.folder, tmp_path / "b")
    return Build(folder, made.plan, copy.deepcopy(made.manifest))


def test_manifest_names_every_file(build):
    files = {str(path.relative_to(build.folder)) for path in build.folder.rglob("*") if path.is_file()}
    assert files == {*build.manifest["files"], "manifest.json"}
    assert {f"rom/{name}.hex" for name in build.plan.images} <= files
    assert {"engine.v", "rom/weights.hex", "rom/program.hex", "rom/rows.hex", "vectors/output.hex"} <= files
    manifest = json.loads((build.folder / "manifest.json").read_text())
    assert manifest["cycles"]["interval"] == build.plan.timing.interval_of(1)
    assert manifest["roms"]["weights"]["depth"] == len((build.folder / "rom/weights.hex").read_text().split())


def test_contents_of_roms_are_files(build):
    text = build.verilog.read_text()
    assert "$readmemh(FILE, words)" in text
    for name in build.plan.images:
        assert f'"rom/{name}.hex"' in text


def test_other_weights_give_the_same_verilog(random, build, tmp_path):
    """Two weights of a row swapped: only the ROM of weights differs."""
    first, second = random.network.layers
    weight = first.weight.copy()
    row = int(np.argmax(np.diff(first.row_offset)))
    start, end = first.row_offset[row : row + 2]
    other = start + int(np.argmax(weight[start:end] != weight[start]))
    weight[[start, other]] = weight[[other, start]]
    assert (weight != first.weight).any()
    network = replace(random.network, layers=(replace(first, weight=weight), second))
    changed = generate(network, EngineConfig(lanes=2), tmp_path / "c")
    differ = {n for n in changed.manifest["files"] if changed.manifest["files"][n] != build.manifest["files"].get(n)}
    assert differ == {"rom/weights.hex", "network.darb"}


@pytest.mark.parametrize("kind", ["convolution", "lstm"])
def test_contents_of_memories_are_files_too(kind, tmp_path):
    """Tables, loops, states, and what the activation memory holds at power-up."""
    net = random_network(10, kind).network
    build = generate(net, EngineConfig(lanes=2), tmp_path / "b")
    expected = {"functions", "loops", "activations"} | ({"cell_state", "cell_tanh"} if net.cells else set())
    assert expected <= set(build.plan.images)
    text = build.verilog.read_text()
    for name, image in build.plan.images.items():
        assert f'"rom/{name}.hex"' in text
        assert [int(line, 16) for line in (build.folder / f"rom/{name}.hex").read_text().split()] == image.integers()
    assert build.manifest["memory"] == {
        "depth": build.plan.memory_depth,
        "copies": build.plan.copies,
        "map": metrics.memory_table(build.plan),
    }


@pytest.mark.parametrize(("seed", "emit"), [(24, "step"), (16, "last")])
def test_streams_of_sequences(seed, emit, tmp_path):
    """Outputs of every step, or of the last step of each sequence; cycles of a step are those beyond the first."""
    random = random_network(seed, "lstm")
    assert random.network.emit == emit
    inputs, lengths = random_inputs(0, random.network, 6), np.array([3, 1, 2])
    build = generate(random.network, EngineConfig(lanes=2), tmp_path / "b", random.vectors(inputs, lengths))
    outputs = random.trace(inputs, lengths)[random.network.output]
    kept = outputs if emit == "step" else outputs[[2, 3, 5]]
    bits = random.network.tensor(random.network.output).bits
    mask = (1 << -(-bits // 8) * 8) - 1
    lines = (build.folder / "vectors/output.hex").read_text().split()
    assert [int(line, 16) for line in lines] == [int(v) & mask for v in kept.ravel()]
    assert len((build.folder / "vectors/input.hex").read_text().split()) == inputs.size
    cycles, plan = build.manifest["cycles"], build.plan
    assert cycles["latency"] == plan.timing.latency_of(1)
    assert cycles["interval"] == plan.timing.interval_of(1)
    assert cycles["step"] == plan.timing.interval_of(5) - plan.timing.interval_of(4)


def test_verilog_ports(build):
    head = build.verilog.read_text().split(";")[0]
    for port in (
        "clk",
        "rst",
        "frame_error",
        *(f"{s}_axis_{p}" for s in "sm" for p in ("tdata", "tvalid", "tready", "tlast")),
    ):
        assert port in head, port


def test_vectors_are_streams(build, random):
    lines = (build.folder / "vectors/input.hex").read_text().split()
    values = random_inputs(0, random.network, 3).ravel()
    assert [int(line, 16) for line in lines] == [int(v) & 0xFF for v in values]


def test_storage_order_permutes_the_input_vectors(random, tmp_path):
    inputs = random_inputs(0, random.network, 3)
    order = random.network.tensor("x").order
    assert order is not None
    build = generate(random.network, EngineConfig(input_order="storage"), tmp_path / "b", random.vectors(inputs))
    lines = (build.folder / "vectors/input.hex").read_text().split()
    assert [int(line, 16) for line in lines] == [int(v) & 0xFF for v in inputs[:, order].ravel()]
    assert build.manifest["streams"]["input"]["permutation"] == order.tolist()
    assert "input_order" not in build.plan.images


def test_nothing_is_rewritten_without_need(build, random):
    before = {path: path.stat().st_mtime_ns for path in build.folder.rglob("*") if path.is_file()}
    generate(random.network, EngineConfig(lanes=2), build.folder, build.vectors)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_load_returns_the_same_plan(build):
    again = Build.load(build.folder)
    assert again.digest == build.digest
    assert again.plan.config == build.plan.config
    assert again.plan.timing.compute == build.plan.timing.compute


@pytest.mark.parametrize("name", ["engine.v", "rom/weights.hex", "network.darb"])
def test_an_altered_file_is_found(build, name):
    path = build.folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(DarbError, match=f"{name}: altered since it was made"):
        Build.load(build.folder)
    path.unlink()
    with pytest.raises(DarbError, match=f"{name}: missing"):
        Build.load(build.folder)


def test_a_folder_without_manifest(tmp_path):
    with pytest.raises(DarbError, match=r"no manifest\.json there"):
        Build.load(tmp_path)
    for text in ("{}", "[]", "3", "{", '{"seal": 1, "files": []}'):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(DarbError, match=r"manifest\.json: (damaged|altered)"):
            Build.load(tmp_path)


def test_an_edited_manifest_is_found(build):
    path = build.folder / "manifest.json"
    path.write_text(path.read_text().replace('"lanes": 2', '"lanes": 3'))
    with pytest.raises(DarbError, match=r"manifest\.json: altered since it was made"):
        Build.load(build.folder)


def test_what_the_verilog_depends_on_beside_the_roms_is_in_the_manifest(random, tmp_path):
    """All shifts one up: the same ROM contents, another engine."""
    layers = tuple(replace(layer, shift=layer.shift + 1) for layer in random.network.layers)
    one = generate(random.network, EngineConfig(), tmp_path / "a")
    other = generate(replace(random.network, layers=layers), EngineConfig(), tmp_path / "b")
    assert one.manifest["requantise"]["shift_base"] + 1 == other.manifest["requantise"]["shift_base"]
    assert one.digest != other.digest


def test_digest_covers_verilog_and_roms_whatever_the_top_is_called(random, tmp_path):
    build = generate(random.network, EngineConfig(lanes=2, top="vectors_engine"), tmp_path / "a")
    other = generate(random.network, EngineConfig(lanes=4, top="vectors_engine"), tmp_path / "b")
    assert build.digest != other.digest


@pytest.mark.parametrize("name", ["rom", "vectors"])
def test_a_file_where_a_folder_belongs(random, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(DarbError, match=f"{name}: is a file"):
        generate(random.network, EngineConfig(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_where_a_file_belongs(random, tmp_path):
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(DarbError, match=r"manifest\.json: is a folder"):
        generate(random.network, EngineConfig(), tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_vectors_of_another_network(random, tmp_path):
    other = random_network(72, sizes=(12, 9, 4))
    with pytest.raises(DarbError, match="belong to another network"):
        generate(random.network, EngineConfig(), tmp_path / "b", other.vectors(random_inputs(0, other.network, 2)))
    assert not (tmp_path / "b").exists()


def test_an_error_leaves_nothing_behind(random, tmp_path):
    with pytest.raises(DarbError):
        generate(random.network, EngineConfig(lanes=128, device="ice40-up5k", lane_multiplier="dsp"), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_file_in_place_of_the_folder(random, tmp_path):
    (tmp_path / "b").write_text("mine")
    with pytest.raises(DarbError, match="is a file; name a folder"):
        generate(random.network, EngineConfig(), tmp_path / "b")


def test_without_vectors(random, tmp_path):
    build = generate(random.network, EngineConfig(), tmp_path / "b")
    with pytest.raises(DarbError, match="made without test vectors"):
        build.vectors  # noqa: B018


def forge(build, change) -> None:
    """Seal the manifest again after ``change``, as anyone can."""
    path = build.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_bytes(manifest_bytes(manifest))


def refused(build, reason):
    """One line that names the manifest or a file of the build, the reason, and what to do."""
    with pytest.raises(DarbError) as refusal:
        Build.load(build.folder)
    message = str(refusal.value)
    assert message.startswith(f"{build.folder}/")
    assert message.endswith("; make the build again with darb verilog")
    assert re.search(reason, message)
    assert message.isprintable()


MANIFEST = "manifest.json: "
FORGERIES = {
    "files": {
        "a list": (lambda m: m.update(files=["engine.v"]), MANIFEST + "its files are no dictionary"),
        "null": (lambda m: m.update(files=None), MANIFEST + "its files are no dictionary"),
        "empty": (lambda m: m.update(files={}), MANIFEST + "leaves out network.darb"),
        "no Verilog": (lambda m: m["files"].pop("engine.v"), MANIFEST + "leaves out engine.v"),
        "no weights": (lambda m: m["files"].pop("rom/weights.hex"), MANIFEST + "leaves out rom/weights.hex"),
        "no network": (lambda m: m["files"].pop("network.darb"), MANIFEST + "leaves out network.darb"),
        "no primitives": (lambda m: m["files"].pop("primitives.v"), MANIFEST + "leaves out primitives.v"),
        "no streams": (lambda m: m["files"].pop("vectors/output.hex"), MANIFEST + "leaves out vectors/output.hex"),
        "no digest": (lambda m: m["files"].update({"engine.v": None}), "engine.v: altered"),
        "outside": (lambda m: m["files"].update({"../x.v": "0"}), MANIFEST + "names the file '../x.v'"),
        "outside, absolute": (lambda m: m["files"].update({"/dev/zero": "0"}), MANIFEST + "names the file '/dev/zero'"),
        "outside, from rom": (lambda m: m["files"].update({"rom/../../x.hex": "0"}), MANIFEST + "names the file"),
        "a name that is no text": (
            lambda m: m["files"].update({"a\x1b[2J\udc80[/]" * 999: "0"}), MANIFEST + "names the file"
        ),
        "a name that is too long": (lambda m: m["files"].update({"a" * 9999 + ".v": "0"}), MANIFEST + "names the file"),
    },
    "config": {
        "null": (lambda m: m.update(config=None), MANIFEST + "its configuration has not the options"),
        "unknown": (lambda m: m["config"].update(colour=1), MANIFEST + "its configuration has not the options"),
        "absent": (lambda m: m["config"].pop("lanes"), MANIFEST + "its configuration has not the options"),
        "of another type": (lambda m: m["config"].update(lanes="x"), MANIFEST + r"no configuration .*\(lanes = x"),
        "too many lanes": (lambda m: m["config"].update(lanes=10**30), MANIFEST + r"no configuration .*\(lanes ="),
        "fewer lanes": (
            lambda m: m["config"].update(lanes=1), MANIFEST + r"names rom/index_\d.hex, which is no file of this build"
        ),
        "another device": (lambda m: m["config"].update(device="ice40-hx8k"), MANIFEST + "names primitives.v"),
        "another top": (lambda m: m["config"].update(top="other"), MANIFEST + "names engine.v|leaves out other.v"),
    },
    "all": {
        "nothing": (lambda m: m.clear(), MANIFEST + "damaged"),
        "another format": (lambda m: m.update(format=[1]), MANIFEST + r"format \[1\], this package reads 1"),
        "cycles": (lambda m: m["cycles"].update(interval=3), MANIFEST + "'cycles' does not follow from"),
        "layers": (lambda m: m.update(layers=None), MANIFEST + "'layers' does not follow from"),
        "more": (lambda m: m.update(more=1), MANIFEST + "'more' does not follow from"),
    },
}  # fmt: skip


@pytest.mark.parametrize(("part", "kind"), [(part, kind) for part in FORGERIES for kind in FORGERIES[part]])
def test_a_manifest_that_is_sealed_but_not_legal(part, kind, build):
    change, reason = FORGERIES[part][kind]
    forge(build, change)
    refused(build, reason)


def test_values_in_values_without_end(build):
    path = build.folder / "manifest.json"
    for text in ("[" * 10**6, '{"a":' * 10**6, '{"seal": "", "files": ' + "[" * 900 + "]" * 900 + "}"):
        path.write_text(text)
        refused(build, "damaged|altered")


def test_a_manifest_that_is_no_file(build):
    path = build.folder / "manifest.json"
    path.unlink()
    os.mkfifo(path)  # reading would wait for ever
    with pytest.raises(DarbError, match=r"no manifest\.json there"):
        Build.load(build.folder)


def test_vectors_without_samples(random, tmp_path):
    vectors = random.vectors(random_inputs(0, random.network, 1))
    none = replace(vectors, tensors={name: values[:0] for name, values in vectors.tensors.items()})
    build = generate(random.network, EngineConfig(lanes=2), tmp_path / "b", none)
    with pytest.raises(DarbError, match=r"all\.vectors: test vectors without samples; run darb compile again"):
        build.load_vectors()


def test_vectors_of_another_network_in_a_sealed_build(build, random):
    other = random_network(72, sizes=(12, 9, 4))
    data = other.vectors(random_inputs(0, other.network, 3)).pack()
    (build.folder / "vectors/all.vectors").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    forge(build, lambda manifest: manifest["files"].update({"vectors/all.vectors": digest}))
    with pytest.raises(DarbError, match=r"all\.vectors: .* another network; .*; make the build again"):
        Build.load(build.folder).load_vectors()


def test_fewer_lanes_than_the_engine_has(random, tmp_path):
    """The whole manifest is that of 4 lanes, Verilog and ROMs are those of 8."""
    build = generate(random.network, EngineConfig(lanes=8), tmp_path / "b")
    other = generate(random.network, EngineConfig(lanes=4), tmp_path / "c")
    files = other.manifest["files"]
    for name in files:
        files[name] = hashlib.sha256((build.folder / name).read_bytes()).hexdigest()
    (build.folder / "manifest.json").write_bytes(manifest_bytes(other.manifest))
    refused(build, r"rom/\w+\.hex: not the \d+ words of \d+ bits that the configuration needs")


@pytest.mark.parametrize(
    ("kind", "device"), [("convolution", "ice40-hx8k"), ("lstm", "ecp5-85k"), ("gru", "ice40-up5k")]
)
def test_what_is_made_can_be_opened(kind, device, tmp_path):
    build = generate(random_network(1, kind).network, EngineConfig(lanes=2, device=device), tmp_path / "b")
    assert Build.load(build.folder).digest == build.digest
