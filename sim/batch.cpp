// Frames of a file through the engine, as fast as it takes them: the main program of its Verilated model.
//
//     batch INPUT OUTPUT LIMIT TAIL SEED
//
// INPUT, little-endian: uint32 elements a step of the input, elements of an output, frames; for each frame uint32
// steps, uint32 outputs; then the elements of all frames, int16; then the bytes of the network, if the engine has none at
// power-up.
// OUTPUT: int64 cycles, elements accepted, elements taken; for each step int64 cycles of its first and last element
// accepted; for each output int64 cycles of its first element offered and its last taken; then the elements of all
// outputs, int16. What did not happen is 0.
// LIMIT: cycles without a transfer after which the engine is stuck. TAIL: cycles in which nothing may follow.
// SEED: of what registers and memories hold at power-up.
//
// Standard output: the number of frames done, a line now and then. Exit codes: 0; 2 for files that cannot be read or
// written; 3 for an engine that is stuck or breaks the protocol, with one line on standard error.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

#include "Vdut.h"
#include "verilated.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the files are little-endian");

namespace {

struct Failure {
    int code;
    std::string message;
};

template <typename T>
std::vector<T> read(std::istream& file, size_t count) {
    std::vector<T> values(count);
    if (!file.read(reinterpret_cast<char*>(values.data()), count * sizeof(T))) throw Failure{2, "input file too short"};
    return values;
}

template <typename T>
void write(std::ostream& file, const std::vector<T>& values) {
    file.write(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

struct Span {
    int64_t first = 0, last = 0;
};

struct Batch {
    uint32_t input_size, output_size, frames;
    std::vector<uint32_t> counts;  // steps and outputs of each frame in turn
    std::vector<int16_t> inputs, outputs;
    std::vector<char> network;
    std::vector<Span> accepted, given;
    // Elements sent and taken; the frame that each belongs to, and the first element that is not of that frame.
    uint64_t sent = 0, taken = 0, source = 0, sink = 0, source_end = 0, sink_end = 0;
    int64_t now = 0;

    explicit Batch(const std::string& path) {
        std::ifstream file(path, std::ios::binary);
        if (!file) throw Failure{2, "cannot read " + path};
        const auto head = read<uint32_t>(file, 3);
        input_size = head[0], output_size = head[1], frames = head[2];
        counts = read<uint32_t>(file, 2 * size_t(frames));
        uint64_t steps = 0, chunks = 0;
        for (size_t frame = 0; frame < frames; ++frame) steps += counts[2 * frame], chunks += counts[2 * frame + 1];
        inputs = read<int16_t>(file, steps * input_size);
        network.assign(std::istreambuf_iterator<char>(file), {});
        outputs.resize(chunks * output_size);
        accepted.resize(steps);
        given.resize(chunks);
        source_end = uint64_t(counts[0]) * input_size;
        sink_end = uint64_t(counts[1]) * output_size;
    }

    void save(const std::string& path) const {
        std::ofstream file(path, std::ios::binary);
        write(file, std::vector<int64_t>{now, int64_t(sent), int64_t(taken)});
        write(file, accepted);
        write(file, given);
        write(file, outputs);
        if (!file.flush()) throw Failure{2, "cannot write " + path};
    }

    template <typename... Words>
    [[noreturn]] void fail(const Words&... words) const {
        std::ostringstream text;
        text << "cycle " << now << ": ";
        (text << ... << words);
        throw Failure{3, text.str()};
    }

    void accept() {
        Span& span = accepted[sent / input_size];
        if (sent % input_size == 0) span.first = now;
        span.last = now;
        if (++sent == source_end && ++source < frames) source_end += uint64_t(counts[2 * source]) * input_size;
    }

    // Returns whether a frame is whole.
    bool take(int16_t value, bool last) {
        const uint64_t start = sink_end - uint64_t(counts[2 * sink + 1]) * output_size;
        const bool ends = taken + 1 == sink_end;
        outputs[taken] = value;
        if (last != ends)
            fail("m_axis_tlast ", last, " with element ", taken - start + 1, " of ", sink_end - start, " of frame ",
                 sink);
        Span& span = given[taken / output_size];
        if (taken % output_size == 0) span.first = now;  // always ready: taken in the cycle in which it is offered
        span.last = now;
        ++taken;
        if (ends && ++sink < frames) sink_end += uint64_t(counts[2 * sink + 1]) * output_size;
        return ends;
    }
};

// An engine of several tasks is asked for all of them; any other has no such port.
template <typename Dut>
auto ask_for_all(Dut& dut, int) -> decltype(void(dut.s_axis_tuser)) {
    dut.s_axis_tuser = 0;
}

template <typename Dut>
void ask_for_all(Dut&, long) {}

template <typename Dut>
auto fill(Dut& dut, const Batch& batch, int) -> decltype(void(dut.reload_present)) {
    size_t sent = 0;
    dut.s_axis_tvalid = 0;
    dut.reload_axis_tvalid = 1;
    for (int64_t waited = 0; sent < batch.network.size(); ++waited) {
        dut.reload_axis_tdata = static_cast<uint8_t>(batch.network[sent]);
        dut.reload_axis_tlast = sent + 1 == batch.network.size();
        dut.clk = 0, dut.eval();
        if (dut.reload_axis_tready) ++sent, waited = 0;
        dut.clk = 1, dut.eval();
        if (waited > 1000) batch.fail("the engine takes no network");
    }
    dut.reload_axis_tvalid = 0;
    for (int cycle = 0; cycle < 4; ++cycle) {
        dut.clk = 0, dut.eval();
        dut.clk = 1, dut.eval();
    }
    if (!dut.reload_present) batch.fail("the engine refuses its network");
}

// Any other engine has its network at power-up, and no other one comes.
template <typename Dut>
auto keep(Dut& dut, int) -> decltype(void(dut.reload_axis_tvalid)) {
    dut.reload_axis_tvalid = 0;
}

template <typename Dut>
void keep(Dut&, long) {}

template <typename Dut>
void fill(Dut& dut, const Batch&, long) {
    keep(dut, 0);
}

void run(Vdut& dut, Batch& batch, int64_t limit, int64_t tail) {
    using Bus = std::remove_reference_t<decltype(dut.s_axis_tdata)>;
    using Element = std::conditional_t<sizeof(dut.m_axis_tdata) == 1, int8_t, int16_t>;
    static_assert(sizeof(Bus) <= 2 && sizeof(dut.m_axis_tdata) <= 2, "elements have at most 16 bits");
    auto report = std::chrono::steady_clock::now();
    int64_t moved = 0, left = tail;
    ask_for_all(dut, 0);
    dut.m_axis_tready = 1;
    dut.rst = 1;
    for (int cycle = 0; cycle < 2; ++cycle) {
        dut.clk = 0, dut.eval();
        dut.clk = 1, dut.eval();
    }
    dut.rst = 0;
    fill(dut, batch, 0);
    while (batch.sink < batch.frames || left--) {
        ++batch.now;
        const bool offers = batch.sent < batch.inputs.size();
        dut.s_axis_tvalid = offers;
        if (offers) {
            dut.s_axis_tdata = static_cast<Bus>(batch.inputs[batch.sent]);
            dut.s_axis_tlast = batch.sent + 1 == batch.source_end;
        }
        dut.clk = 0, dut.eval();
        if (dut.frame_error) batch.fail("frame_error, though every frame is right");
        if (offers && dut.s_axis_tready) {
            batch.accept();
            moved = batch.now;
        }
        if (dut.m_axis_tvalid) {
            if (batch.sink == batch.frames) batch.fail("an element came out after the last frame");
            moved = batch.now;
            if (batch.take(static_cast<Element>(dut.m_axis_tdata), dut.m_axis_tlast)) {
                const auto time = std::chrono::steady_clock::now();
                if (time - report > std::chrono::milliseconds(200)) {
                    report = time;
                    std::cout << batch.sink << std::endl;
                }
            }
        }
        if (batch.sink < batch.frames && batch.now - moved > limit)
            batch.fail("stuck: no element went in or came out for ", limit, " cycles, ", batch.sink, " of ", batch.frames,
                       " frames came out");
        dut.clk = 1, dut.eval();
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 6) {
        std::cerr << "usage: batch INPUT OUTPUT LIMIT TAIL SEED" << std::endl;
        return 2;
    }
    try {
        Batch batch(argv[1]);
        VerilatedContext context;
        context.randReset(2);
        context.randSeed(std::atoi(argv[5]));
        Vdut dut(&context);
        Failure failure{0, ""};
        try {
            run(dut, batch, std::atoll(argv[3]), std::atoll(argv[4]));
        } catch (const Failure& found) {
            failure = found;
        }
        dut.final();
        batch.save(argv[2]);
        if (failure.code) throw failure;
    } catch (const Failure& failure) {
        std::cerr << failure.message << std::endl;
        return failure.code;
    }
    return 0;
}
