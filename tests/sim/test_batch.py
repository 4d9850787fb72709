"""Whole test sets through Verilator: exact where the engine is right, and every kind of wrong is located."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sim.batch
from darb_hw.cli import main
from darb_hw.config import EngineConfig
from darb_hw.emit import Build, generate
from darb_hw.plan.pace import Timing
from darb_prune.encoded import DarbError, TestVectors
from sim.batch import batch
from sim.launch import simulate
from sim.scenario import Scenario
from tests.networks import random_inputs, random_lengths, random_network

pytestmark = [pytest.mark.simulator, pytest.mark.xdist_group("batch")]

# A network of each kind: seed and options of random_network. The LSTM begins with an embedding and gives an output
# at every step, the GRU at the last.
KINDS = {"chain": (5, {"sizes": (19, 23, 11), "activation_bits": 9}), "lstm": (55, {}), "gru": (16, {})}


ORDER = {"chain": "storage", "lstm": "logical", "gru": "storage"}
BUILDS = {}


def build_of(kind, make_build):
    """A build of a kind, with forty samples; made once."""
    if kind in BUILDS:
        return BUILDS[kind]
    seed, options = KINDS[kind]
    random = random_network(seed, kind, **options)
    lengths = random_lengths(1, random.network, 40)
    inputs = random_inputs(0, random.network, 40 if lengths is None else int(lengths.sum()))
    vectors = random.vectors(inputs, lengths)
    BUILDS[kind] = make_build(f"batch-{kind}", random.network, vectors, EngineConfig(lanes=2, input_order=ORDER[kind]))
    return BUILDS[kind]


def emits(build) -> int:
    """Outputs of all samples."""
    vectors, network = TestVectors.load(build.vectors), build.plan.network
    return vectors.samples if network.emit == "last" else vectors.frames


@pytest.mark.parametrize("kind", KINDS)
def test_exact(kind, make_build):
    build, done = build_of(kind, make_build), []
    report = batch(build, progress=done.append)
    assert report.mismatch is None
    assert (report.frames, report.elements) == (40, emits(build) * build.plan.output_size)
    timing = build.plan.timing
    assert report.compute == [timing.offer]
    lengths = np.diff(TestVectors.load(build.vectors).starts)
    planned = timing.times_of(lengths.tolist())
    assert report.latency == timing.latency_of(int(lengths[0]))
    assert report.interval == planned[-1][-1].left - planned[-2][-1].left
    assert report.cycles > planned[-1][-1].left
    assert report.seconds > 0
    assert done[-1] == 40
    assert done == sorted(done)


def test_the_kinds_are_what_they_are_meant_to_be():
    lstm, gru = (random_network(KINDS[kind][0], kind).network for kind in ("lstm", "gru"))
    assert (lstm.emit, gru.emit) == ("step", "last")
    assert lstm.embedding
    assert gru.tail < len(gru.layers)


@pytest.mark.parametrize("count", [2, 3])
def test_the_interval_of_few_samples(count, make_build):
    """Inputs come in faster at first, into memory that is still free: their distance is not the interval."""
    build = build_of("chain", make_build)
    report = batch(build, range(count))
    assert (report.mismatch, report.interval) == (None, build.plan.timing.interval_of(1))
    (report,) = simulate(build, "icarus", [Scenario(tuple(range(count)))])
    assert (report.mismatch, report.interval) == (None, build.plan.timing.interval_of(1))


def test_one_sample_has_no_interval(make_build):
    assert batch(build_of("chain", make_build), [0]).interval is None


def test_some_samples_in_another_order(make_build):
    report = batch(build_of("lstm", make_build), [7, 3, 3, 39, 0])
    assert (report.mismatch, report.frames) == (None, 5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_expectation_is_located(kind, make_build, tmp_path):
    """Two values of the vectors changed: the report names the first, by sample, step, tensor and element."""
    build = build_of(kind, make_build)
    shutil.copytree(build.folder, tmp_path / "b")
    vectors, network = TestVectors.load(build.vectors), build.plan.network
    sample = 21
    row = int(vectors.starts[sample + 1]) - 1
    values = vectors.tensors[network.output]
    right = int(values[row, 2])
    wrong = right + (1 if right < network.tensor(network.output).qmax else -1)
    values[row, 2], values[row + 1 :, 0] = wrong, network.tensor(network.output).qmin
    report = batch(generate(network, build.plan.config, tmp_path / "b", vectors))
    step = f", step {row - vectors.starts[sample]}" if network.recurrent else ""
    expected = (
        rf"sample 21{step}: tensor '{network.output}', element 2: engine {right}, oracle {wrong}; "
        rf"\d+ of {emits(build) * build.plan.output_size} elements are wrong"
    )
    assert re.fullmatch(expected, report.mismatch)
    assert report.frames == 21


def test_wrong_weights_are_noticed(make_build, tmp_path):
    build = build_of("chain", make_build)
    shutil.copytree(build.folder, tmp_path / "b")
    rom = tmp_path / "b" / "rom" / "weights.hex"
    lines = rom.read_text().splitlines()
    rom.write_text("".join(f"{int(line, 16) ^ 1 << 4 * len(line) - 5:0{len(line)}x}\n" for line in lines))
    report = batch(Build(tmp_path / "b", build.plan, build.manifest))
    assert re.match(r"sample \d+: tensor 't2', element \d+: engine -?\d+, oracle -?\d+", report.mismatch)
    assert report.frames < 40


def one_cycle_off(monkeypatch, sequence: int, name: str, change: int = 1) -> None:
    """The plan says something else of the last time step of a sequence."""
    real = Timing.times_of

    def times_of(timing, lengths):
        sequences = real(timing, lengths)
        if len(sequences) > sequence:  # the latency is asked of one sequence alone
            last = sequences[sequence][-1]
            sequences[sequence][-1] = replace(last, **{name: getattr(last, name) + change})
        return sequences

    monkeypatch.setattr(Timing, "times_of", times_of)


@pytest.mark.parametrize("change", [1, -1])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("begun", r"input {input}: first element accepted in cycle (\d+), the plan says (\d+)"),
        ("offered", r"sample 3, step {step}: first output in cycle (\d+), the plan says (\d+)"),
        ("left", r"sample 3, step {step}: last output in cycle (\d+), the plan says (\d+)"),
    ],
)
def test_cycles_that_are_not_those_of_the_plan(name, message, change, make_build, monkeypatch):
    build = build_of("lstm", make_build)
    starts = TestVectors.load(build.vectors).starts
    one_cycle_off(monkeypatch, 3, name, change)
    message = message.format(input=starts[4] - 1, step=starts[4] - starts[3] - 1)
    found = re.fullmatch(message, batch(build).mismatch)
    assert found
    assert int(found[2]) == int(found[1]) + change


@pytest.mark.parametrize(("samples", "message"), [([0, 40], "sample 40 of a batch: .* 0 to 39"), ([], "no samples")])
def test_samples_that_are_not_there(samples, message, make_build):
    with pytest.raises(DarbError, match=message):
        batch(build_of("chain", make_build), samples)


def test_verilog_that_does_not_compile(tmp_path):
    random = random_network(3)
    build = generate(
        random.network, EngineConfig(), tmp_path / "b", random.vectors(random_inputs(0, random.network, 2))
    )
    build.verilog.write_text("module engine(; endmodule\n")
    with pytest.raises(DarbError, match=r"verilator could not compile .*engine\.v; see .*build\.log"):
        batch(build)


def test_a_program_that_fails(make_build, tmp_path):
    build = build_of("chain", make_build)
    shutil.copytree(build.folder, tmp_path / "b")
    (tmp_path / "b" / "sim" / "batch" / "batch").write_text("#!/bin/sh\necho first; echo no luck >&2; exit 1\n")
    with pytest.raises(DarbError, match=r"the simulator of .*engine\.v failed: no luck"):
        batch(Build(tmp_path / "b", build.plan, build.manifest))


def test_an_engine_that_is_stuck(make_build, tmp_path):
    """Reported at once, since not even the shortest inference may take so few cycles, after as many inputs as there is
    room for; nothing counts as right, zeros neither."""
    build = build_of("lstm", make_build)
    vectors = TestVectors.load(build.vectors)
    assert (vectors.tensors[build.plan.network.output] == 0).any()  # as what never came
    shutil.copytree(build.folder, tmp_path / "b")
    program = tmp_path / "b" / "sim" / "batch" / "batch"
    program.rename(program.with_name("real"))
    program.write_text(f'#!/bin/sh\nexec {program.with_name("real")} "$1" "$2" 9 "$4" "$5"\n')
    program.chmod(0o755)
    report = batch(Build(tmp_path / "b", build.plan, build.manifest))
    assert re.fullmatch(r"cycle \d+: stuck: no element .* for 9 cycles, 0 of 40 frames came out", report.mismatch)
    assert (report.frames, report.elements) == (0, 0)
    steps = [step for sequence in build.plan.timing.times_of(np.diff(vectors.starts).tolist()) for step in sequence]
    assert build.plan.overlapped
    # The first element of the third input waits behind the port.
    assert steps[3].begun > steps[2].begun + 9
    assert steps[2].begun == steps[1].entered
    assert report.cycles == steps[2].begun + 11


# The main program with an engine that is wrong on purpose.

ENGINE = """
#pragma once
#include <cstdint>
#include <cstdlib>
#include <string>
#include "verilated.h"
// Gives back every second of four elements of a frame; does what FAULT names wrong.
struct Vdut {
    uint8_t clk = 0, rst = 0, s_axis_tdata = 0, s_axis_tvalid = 0, s_axis_tlast = 0, s_axis_tready = 1;
    uint8_t m_axis_tdata = 0, m_axis_tvalid = 0, m_axis_tlast = 0, m_axis_tready = 0, frame_error = 0;
    uint8_t before = 0, got = 0, given = 0;
    std::string fault = std::getenv("FAULT");
    explicit Vdut(VerilatedContext*) {}
    void final() {}
    void eval() {
        if (clk && !before && !rst) {
            const bool move = s_axis_tvalid && s_axis_tready;
            if (move) ++got;
            m_axis_tvalid = move && got % 2 == 0;
            m_axis_tdata = s_axis_tdata;
            m_axis_tlast = s_axis_tlast;
            given += m_axis_tvalid;
            if (fault == "early end" && given == 3) m_axis_tlast = 1;
            if (fault == "no end") m_axis_tlast = 0;
            if (fault == "frame error" && got == 5) frame_error = 1;
            if (fault == "stuck input" && got == 6) s_axis_tready = 0;
            if (fault == "lost output" && given == 4) m_axis_tvalid = 0;
            if (fault == "one more" && given == 4 && !move) m_axis_tvalid = 1;
        }
        before = clk;
    }
};
"""
RUNTIME = """
#pragma once
struct VerilatedContext {
    void randReset(int) {}
    void randSeed(int) {}
};
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("main")
    (folder / "Vdut.h").write_text(ENGINE)
    (folder / "verilated.h").write_text(RUNTIME)
    main_file = Path(sim.batch.__file__).with_name("batch.cpp")
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-I", folder, "-o", folder / "batch", main_file]
    subprocess.run(command, check=True)
    head = np.array([4, 2, 2, 1, 1, 1, 1], "<u4")
    (folder / "input").write_bytes(head.tobytes() + np.arange(-4, 4).astype("<i2").tobytes())
    return folder / "batch"


@pytest.mark.parametrize(
    ("fault", "message", "elements"),
    [
        ("none", "", 4),
        ("early end", "cycle 7: m_axis_tlast 1 with element 1 of 2 of frame 1", 2),
        ("no end", "cycle 5: m_axis_tlast 0 with element 2 of 2 of frame 0", 1),
        ("frame error", "cycle 6: frame_error, though every frame is right", 2),
        ("stuck input", "cycle 28: stuck: no element went in or came out for 20 cycles, 1 of 2 frames came out", 3),
        ("lost output", "cycle 29: stuck: no element went in or came out for 20 cycles, 1 of 2 frames came out", 3),
        ("one more", "cycle 10: an element came out after the last frame", 4),
    ],
)
def test_a_broken_engine(fault, message, elements, program):
    command = [program, "input", "output", "20", "5", "1"]
    done = subprocess.run(command, cwd=program.parent, env={"FAULT": fault}, capture_output=True, text=True)
    assert done.stderr.strip() == message
    assert done.returncode == (3 if message else 0)
    raw = (program.parent / "output").read_bytes()
    times = np.frombuffer(raw, "<i8", 3 + 4 + 4)
    assert times[2] == elements
    if not message:
        assert times[3:].tolist() == [1, 4, 5, 8, 3, 5, 7, 9]
        assert np.frombuffer(raw, "<i2", offset=times.nbytes).tolist() == [-3, -1, 1, 3]
        assert times[0] == 9 + 5


def test_files_that_cannot_be_read(program, tmp_path):
    (tmp_path / "short").write_bytes((program.parent / "input").read_bytes()[:-1])
    for name, message in (("none", "cannot read none"), ("short", "input file too short")):
        command = [program, name, "output", "20", "5", "1"]
        done = subprocess.run(command, cwd=tmp_path, env={"FAULT": "none"}, capture_output=True, text=True)
        assert (done.returncode, done.stderr.strip()) == (2, message)
    assert subprocess.run([program], env={"FAULT": ""}, capture_output=True).returncode == 2


# The command.


def sim_all(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["sim", *arguments, "--all"])
    return stopped.value.code or 0, capsys.readouterr()


def test_command(make_build, capsys):
    code, texts = sim_all(capsys, str(build_of("chain", make_build).folder))
    assert code == 0
    assert re.search(r"│ +40 │ +440 │.*exact", texts.out)


def test_a_mismatch_is_exit_code_1(make_build, capsys, monkeypatch):
    build = build_of("chain", make_build)
    one_cycle_off(monkeypatch, 20, "left", -1)  # the manifest tells of the pace of fewer sequences
    code, texts = sim_all(capsys, str(build.folder))
    assert code == 1
    assert "the plan says" in texts.out


@pytest.mark.parametrize("option", ["--samples", "--idle", "--stall", "--simulator"])
def test_options_that_do_not_go_together(option, make_build, capsys):
    value = {"--samples": "3", "--simulator": "icarus"}.get(option, "0.1")
    code, texts = sim_all(capsys, str(build_of("chain", make_build).folder), option, value)
    assert code == 2
    assert texts.err.strip().endswith(
        f"--all sends every test vector through Verilator without pauses: leave out {option}"
    )
