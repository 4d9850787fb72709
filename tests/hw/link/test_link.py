"""The link with a made-up engine behind it: good requests are done in order, every bad one is answered."""

import itertools
import zlib
from dataclasses import replace

import numpy as np
import pytest

from darb_hw.link.link import HostLink
from darb_hw.link.protocol import PENDING, Fault, PacketKind
from darb_hw.link.receiver import Receiver
from darb_hw.link.shape import LinkShape
from sim.packets import ReferencePacket, Unpacker, pack
from tests.hw.amaranth_sim import simulate

INFO = bytes(range(190, 216))
PLAIN = LinkShape(8, 8, inputs=5, recurrent=False, symbols=0, tasks=0, buffer=16)
SHAPES = {
    "bytes": PLAIN,
    "wide": LinkShape(12, 17, inputs=3, recurrent=False, symbols=0, tasks=0, buffer=16),
    "steps": LinkShape(8, 9, inputs=2, recurrent=True, symbols=0, tasks=0, buffer=16),
    "symbols": LinkShape(8, 8, inputs=1, recurrent=True, symbols=7, tasks=0, buffer=16),
    "tasks": LinkShape(8, 8, inputs=5, recurrent=False, symbols=0, tasks=3, buffer=16),
    "networks": LinkShape(4, 8, inputs=5, recurrent=False, symbols=0, tasks=0, buffer=16, load_bytes=41),
    "many tasks": LinkShape(4, 8, inputs=1, recurrent=False, symbols=0, tasks=9, buffer=16),
}


def answer(shape: LinkShape, elements: list[int], tasks: int) -> list[int]:
    """What the made-up engine makes of a frame: as many elements as tells its length and its tasks."""
    half = 1 << shape.output_bits - 1
    return [(7 * sum(elements) + 31 * n + tasks + half) % (2 * half) - half for n in range(1 + len(elements) // 2)]


class Board:
    """A link, a line and an engine, a cycle at a time.

    ``gap``: cycles from a byte to the next. ``work``: cycles from a whole input to its output. ``busy``: of ten cycles,
    in how many the line takes no byte. ``exchangeable``: what it says of itself is in a memory. ``rests``: the cycle up
    to which the engine takes no input; one whose networks take each other's place takes none without a network.
    ``stored``: bytes of the first network that are still to come.
    """

    def __init__(
        self,
        shape: LinkShape,
        gap: int = 4,
        work: int = 30,
        busy: int = 5,
        seed: int = 0,
        exchangeable: bool = False,
        stored: bytes = b"",
    ) -> None:
        self.shape, self.link = shape, HostLink(shape, INFO, exchangeable, bool(stored))
        self.gap, self.work, self.busy = gap, work, busy
        self.rng = np.random.default_rng(seed)
        self.line: list[tuple[int, bool]] = []
        self.unpacker, self.packets = Unpacker(), []
        self.frame, self.asked, self.due, self.frames = [], 0, [], []
        self.now = 0
        self.network, self.networks, self.verdicts, self.state = [], [], [], 0
        self.rests, self.stored = 0, list(stored)

    def load(self, offset: int, data: bytes, sequence: int = 0) -> ReferencePacket:
        return ReferencePacket(PacketKind.LOAD, sequence, offset.to_bytes(4, "little") + data)

    def take_network(self, ctx) -> None:
        """The port of the engine for other networks: a good one has a right number of bytes, and a right last one."""
        link = self.link
        accepts = bool(self.rng.integers(0, 2)) and not self.verdicts
        ctx.set(link.network.ready, accepts)
        ready = bool(self.verdicts) and self.verdicts[0][0] <= self.now
        ctx.set(link.verdict.valid, ready)
        if ready:
            ctx.set(link.verdict.payload, self.verdicts[0][1])
            good = self.verdicts[0][1] * ctx.get(link.verdict.ready)
            self.state = self.state | good if self.shape.overwrites else self.state ^ good
            if ctx.get(link.verdict.ready):
                self.verdicts.pop(0)
        if accepts and ctx.get(link.network.valid):
            self.network.append(ctx.get(link.network.payload.data))
            self.state *= not self.shape.overwrites
            if ctx.get(link.network.payload.last):
                good = len(self.network) == self.shape.load_bytes - 8 and self.network[-1] == 77
                self.networks.append((bytes(self.network), good))
                self.verdicts.append((self.now + self.work, int(good)))
                self.network = []
        ctx.set(link.present if self.shape.overwrites else link.bank, self.state)

    def send(self, data: bytes, bad: int | None = None) -> None:
        """Bytes for the line; that at ``bad`` arrives damaged."""
        self.line += [(byte, index == bad) for index, byte in enumerate(data)]

    def request(
        self, elements: list[int], sequence: int = 0, tasks: int = 0, kind: int = PacketKind.INFER
    ) -> ReferencePacket:
        mask = (1 << 8 * self.shape.input_bytes) - 1
        payload = tasks.to_bytes(self.shape.task_bytes, "little")
        payload += b"".join((value & mask).to_bytes(self.shape.input_bytes, "little") for value in elements)
        return ReferencePacket(kind, sequence, payload)

    def reply(self, elements: list[int], sequence: int = 0, tasks: int = 0) -> ReferencePacket:
        """What answers such a request."""
        mask, size = (1 << 8 * self.shape.output_bytes) - 1, self.shape.output_bytes
        values = answer(self.shape, elements, tasks)
        return ReferencePacket(
            PacketKind.INFERRED, sequence, b"".join((value & mask).to_bytes(size, "little") for value in values)
        )

    def draw(self) -> tuple[list[int], int]:
        """Elements of a good request, and its tasks."""
        shape = self.shape
        steps = int(self.rng.integers(1, shape.buffer // shape.inputs // 2 + 1)) if shape.recurrent else 1
        half = 1 << shape.input_bits - 1
        low, high = (0, shape.symbols) if shape.symbols else (-half, half)
        return self.rng.integers(low, high, steps * shape.inputs).tolist(), int(self.rng.integers(0, 1 << shape.tasks))

    async def tick(self, ctx) -> None:
        link, wait = self.link, self.now % self.gap
        ctx.set(link.i.valid, bool(self.line) and wait == 0)
        if self.line and wait == 0:
            byte, bad = self.line.pop(0)
            ctx.set(link.i.data, byte)
            ctx.set(link.i.bad, bad)
        taken = int(self.rng.integers(0, 10)) >= self.busy
        ctx.set(link.o.ready, taken)
        accepts = bool(self.rng.integers(0, 2)) and self.now >= self.rests
        accepts = accepts and bool(self.state or not self.shape.overwrites)
        ctx.set(link.inputs.ready, accepts)
        ready = bool(self.due) and self.due[0][0] <= self.now
        ctx.set(link.outputs.valid, ready)
        if ready:
            ctx.set(link.outputs.payload.data, self.due[0][1][0])
            ctx.set(link.outputs.payload.last, len(self.due[0][1]) == 1)
        if accepts and ctx.get(link.inputs.valid):
            first = not self.frame
            self.frame.append(ctx.get(link.inputs.payload.data))
            if first and self.shape.tasks:
                self.asked = ctx.get(link.inputs.payload.user)
            if ctx.get(link.inputs.payload.last):
                self.frames.append(self.frame)
                self.due.append((self.now + self.work, answer(self.shape, self.frame, self.asked)))
                self.frame = []
        if ready and ctx.get(link.outputs.ready):
            self.due[0][1].pop(0)
            if not self.due[0][1]:
                self.due.pop(0)
        if self.stored:
            ctx.set(link.stored.valid, 1)
            ctx.set(link.stored.payload.data, self.stored[0])
            ctx.set(link.stored.payload.last, len(self.stored) == 1)
        if self.shape.load_bytes:
            self.take_network(ctx)
        if self.stored and ctx.get(link.stored.ready):
            self.stored.pop(0)
        if taken and ctx.get(link.o.valid):
            self.packets += self.unpacker.take(bytes([ctx.get(link.o.payload)]))
        self.now += 1
        await ctx.tick()

    async def until(self, ctx, count: int) -> list[ReferencePacket]:
        """The next ``count`` packets; after them the link is quiet."""
        while len(self.packets) < count or self.line:
            await self.tick(ctx)
        for _ in range(100):
            await self.tick(ctx)
        assert len(self.packets) == count, self.packets
        assert not ctx.get(self.link.working)
        packets, self.packets = self.packets, []
        return packets


def run(board: Board, bench, cycles: int = 60_000) -> None:
    simulate(board.link, bench, cycles)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(("work", "busy", "exchangeable"), [(1, 5, False), (400, 5, False), (1, 5, True), (1, 0, True)])
def test_good_requests_are_done_in_order(shape, work, busy, exchangeable):
    if exchangeable and shape.load_bytes:
        return  # the digest of what comes over the line is in no memory
    board = Board(shape, work=work, busy=busy, exchangeable=exchangeable)

    async def bench(ctx):
        for _ in range(6):
            wanted = []
            for sequence in range(3):
                elements, tasks = board.draw()
                board.send(pack(board.request(elements, sequence, tasks).body))
                wanted.append(board.reply(elements, sequence, tasks))
            board.send(pack(ReferencePacket(PacketKind.INFO, 219).body))
            wanted.append(ReferencePacket(PacketKind.INFORMED, 219, INFO))
            assert await board.until(ctx, len(wanted)) == wanted

    run(board, bench)


def test_a_byte_that_is_damaged_is_answered():
    """Any byte of a packet, in any way: one fault for each packet that there is between marks, and nothing for the
    engine; the next request is done."""
    board = Board(PLAIN, gap=4, busy=0)

    async def bench(ctx):
        elements = [1, 2, -64, -37, 5]
        good = pack(board.request(elements, 7).body)
        positions = range(1, len(good), 2)
        for position in positions:
            damaged = bytearray(good)
            damaged[position] ^= 1 << int(board.rng.integers(0, 8))
            body = [part for part in bytes(damaged).split(b"\xc0") if part]
            board.send(bytes(damaged))
            if damaged[-1] != 0xC0:
                board.send(b"\xc0")
            replies = await board.until(ctx, len(body))
            assert all(reply.kind == PacketKind.FAULT and reply.payload[0] in list(Fault) for reply in replies), replies
            board.send(good)
            assert await board.until(ctx, 1) == [board.reply(elements, 7)]
        assert board.frames == [elements] * len(positions)

    run(board, bench)


def faults_of(shape: LinkShape, board: Board) -> dict[str, tuple[bytes, int | None, Fault]]:
    """Bad requests: the bytes, which of them has no stop bit, what is wrong."""
    elements, tasks = board.draw()
    good = board.request(elements, 9, tasks)
    body = good.body
    longer = board.request([*elements, elements[0]], 9, tasks)
    whole = ReferencePacket(9, 9, good.payload).body
    return {
        "line": (pack(body), 3, Fault.LINE),
        "escape": (b"\xc0\xdb\x01" + pack(body)[1:], None, Fault.LINE),
        "short": (pack(body[:7]), None, Fault.SHORT),
        "one byte": (pack(b"x"), None, Fault.SHORT),
        "a byte lost": (pack(body[:4] + body[5:]), None, Fault.CRC),
        "a byte more": (pack(body + b"x"), None, Fault.CRC),
        "length": (pack(wrong_length(good)), None, Fault.LENGTH),
        "kind": (pack(whole), None, Fault.KIND),
        "no input": (pack(board.request([], 9).body), None, Fault.SIZE),
        "information with a payload": (pack(ReferencePacket(PacketKind.INFO, 9, b"x").body), None, Fault.SIZE),
        "room": (pack(board.request([0] * (shape.buffer + shape.inputs), 9).body), None, Fault.ROOM),
        "size": (pack(longer.body), None, Fault.SIZE),
    }


def wrong_length(packet: ReferencePacket) -> bytes:
    """The body of a packet that tells one byte more than it has, with the right check sum."""
    told = packet.body[:-6] + (len(packet.payload) + 1).to_bytes(2, "little")
    return told + zlib.crc32(told).to_bytes(4, "little")


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_each_fault_has_its_answer(shape):
    board = Board(shape)
    cases = faults_of(shape, board)
    if not shape.recurrent:
        del cases["room"]  # an input that is too long has the wrong size
    if shape.inputs == 1 and shape.recurrent:
        del cases["size"]

    async def bench(ctx):
        done = []
        for name, (line, bad, fault) in cases.items():
            board.send(line, bad)
            (reply,) = await board.until(ctx, 1)
            assert (reply.kind, reply.payload) == (PacketKind.FAULT, bytes([fault])), name
            if fault not in (Fault.LINE, Fault.SHORT, Fault.CRC):
                assert reply.sequence == 9, name
            elements, tasks = board.draw()
            board.send(pack(board.request(elements, 200, tasks).body))
            assert await board.until(ctx, 1) == [board.reply(elements, 200, tasks)], name
            done.append(elements)
        assert board.frames == done

    run(board, bench)


@pytest.mark.parametrize(
    ("shape", "elements", "tasks"),
    [
        (SHAPES["wide"], [0, 2048, 0], 0),
        (SHAPES["wide"], [-2049, 0, 0], 0),
        (SHAPES["symbols"], [7], 0),
        (SHAPES["symbols"], [-1, 0], 0),
        (SHAPES["tasks"], [0] * 5, 8),
        (SHAPES["many tasks"], [8], 0),
    ],
)
def test_values_out_of_range_are_answered(shape, elements, tasks):
    board = Board(shape)

    async def bench(ctx):
        board.send(pack(board.request(elements, 3, tasks).body))
        assert await board.until(ctx, 1) == [ReferencePacket(PacketKind.FAULT, 3, bytes([Fault.VALUE]))]
        assert not board.frames

    run(board, bench)


def test_more_requests_than_may_wait():
    """The last one that has no room is answered; so are all before it that had."""
    board = Board(PLAIN, work=3000, gap=4)

    async def bench(ctx):
        inputs = [board.draw()[0] for _ in range(PENDING + 2)]
        for sequence, elements in enumerate(inputs):
            board.send(pack(board.request(elements, sequence).body))
        replies = await board.until(ctx, PENDING + 1)
        wanted = [board.reply(elements, sequence) for sequence, elements in enumerate(inputs[:PENDING])]
        assert replies == [*wanted, ReferencePacket(PacketKind.FAULT, PENDING + 1, bytes([Fault.ROOM]))]
        board.send(pack(board.request(inputs[0], 77).body))
        assert await board.until(ctx, 1) == [board.reply(inputs[0], 77)]

    run(board, bench)


def test_lengths_are_told_modulo_65536():
    """A packet longer than that is as good as any."""
    shape = LinkShape(8, 8, inputs=1 << 16, recurrent=False, symbols=0, tasks=0, buffer=1 << 17)
    receiver, taken = Receiver(shape), []
    body = ReferencePacket(PacketKind.INFER, 9, bytes(1 << 16)).body

    async def bench(ctx):
        ctx.set(receiver.room, 1)
        ctx.set(receiver.i.valid, 1)
        for byte, many in itertools.groupby(body):
            ctx.set(receiver.i.data, byte)
            await ctx.tick().repeat(len(list(many)))
        ctx.set(receiver.i.valid, 0)
        ctx.set(receiver.i.end, 1)
        await ctx.tick()
        ctx.set(receiver.i.end, 0)
        assert ctx.get(receiver.done)
        taken.append((ctx.get(receiver.request.fault), ctx.get(receiver.request.elements)))

    simulate(receiver, bench, 70_000)
    assert taken == [(0, 1 << 16)]


def test_empty_packets_are_nothing():
    board = Board(PLAIN)

    async def bench(ctx):
        elements, _ = board.draw()
        board.send(b"\xc0" * 20 + pack(board.request(elements, 1).body) + b"\xc0" * 20)
        assert await board.until(ctx, 1) == [board.reply(elements, 1)]

    run(board, bench)


LOADS = SHAPES["networks"]
DIGEST = bytes(range(8))


def network(seed: int, last: int = 77) -> bytes:
    """A digest, and a network that the made-up engine takes if its last byte is 77."""
    body = np.random.default_rng(seed).integers(0, 256, LOADS.load_bytes - 9).astype(np.uint8).tobytes()
    return bytes(byte ^ seed for byte in DIGEST) + body + bytes([last])


def has(count: int) -> ReferencePacket:
    return ReferencePacket(PacketKind.LOADED, 0, count.to_bytes(4, "little"))


async def loaded(ctx, board: Board, data: bytes, size: int = 13) -> list[ReferencePacket]:
    """The replies to all packets of a network."""
    replies = []
    for offset in range(0, len(data), size):
        board.send(pack(board.load(offset, data[offset : offset + size]).body))
        replies += await board.until(ctx, 1)
    return replies


async def told(ctx, board: Board) -> bytes:
    """The digest of the network in use."""
    board.send(pack(ReferencePacket(PacketKind.INFO, 0).body))
    (reply,) = await board.until(ctx, 1)
    assert reply.payload[:10] + reply.payload[18:] == INFO[:10] + INFO[18:]
    return reply.payload[10:18]


def test_networks_come_in_pieces():
    """Each byte reaches the engine once and in its place, between inferences; the digest is that of what is in use."""
    board = Board(LOADS)

    async def bench(ctx):
        assert await told(ctx, board) == INFO[10:18]
        for seed in range(1, 4):
            data = network(seed)
            assert await loaded(ctx, board, data) == [has(count) for count in (13, 26, 39, 41)]
            assert board.networks.pop() == (data[8:], True)
            assert await told(ctx, board) == data[:8]
            elements, _ = board.draw()
            board.send(pack(board.request(elements, 5).body))
            assert await board.until(ctx, 1) == [board.reply(elements, 5)]

    run(board, bench)


def test_a_network_that_is_none_leaves_the_old_one():
    board = Board(LOADS)

    async def bench(ctx):
        bad = ReferencePacket(PacketKind.FAULT, 0, bytes([Fault.NETWORK]))
        assert (await loaded(ctx, board, network(1, last=78)))[-1] == bad
        assert await told(ctx, board) == INFO[10:18]
        assert (await loaded(ctx, board, network(2)))[-1] == has(41)
        assert await told(ctx, board) == network(2)[:8]

    run(board, bench)


def test_pieces_that_come_twice_or_miss_are_not_taken():
    """The reply says how many bytes there are; whoever begins anew is understood."""
    board = Board(LOADS)

    async def bench(ctx):
        data = network(3)
        pieces = [(0, 16, 16), (0, 4, 4), (4, 16, 20), (4, 16, 20), (36, 5, 20), (20, 16, 36), (21, 3, 36), (36, 5, 41)]
        for offset, size, count in pieces:
            board.send(pack(board.load(offset, data[offset : offset + size]).body))
            assert await board.until(ctx, 1) == [has(count)]
        # What had come before the second beginning ended as a network that is none.
        assert [good for _, good in board.networks] == [False, True]
        assert board.networks[-1][0] == data[8:]
        board.send(pack(board.load(36, data[36:]).body))
        assert await board.until(ctx, 1) == [has(41)]
        assert len(board.networks) == 2

    run(board, bench)


def test_damaged_pieces_change_nothing():
    board = Board(LOADS)

    async def bench(ctx):
        data = network(4)
        for offset in range(0, len(data), 11):
            good = pack(board.load(offset, data[offset : offset + 11]).body)
            damaged = bytearray(good)
            damaged[int(board.rng.integers(2, len(good) - 1))] ^= 16
            board.send(bytes(damaged))
            replies = await board.until(ctx, 1)
            assert replies[0].kind == PacketKind.FAULT
            board.send(good)
            assert await board.until(ctx, 1) == [has(min(offset + 11, 41))]
        assert board.networks == [(data[8:], True)]

    run(board, bench)


@pytest.mark.parametrize(
    ("offset", "size", "fault"),
    [(0, 0, Fault.SIZE), (40, 2, Fault.SIZE), (41, 1, Fault.SIZE), (0xFFFFFFF0, 16, Fault.SIZE), (0, 17, Fault.ROOM)],
)
def test_pieces_of_no_network_are_refused(offset, size, fault):
    board = Board(LOADS)

    async def bench(ctx):
        board.send(pack(board.load(offset, bytes(size)).body))
        assert await board.until(ctx, 1) == [ReferencePacket(PacketKind.FAULT, 0, bytes([fault]))]
        short = ReferencePacket(PacketKind.LOAD, 0, b"abc")
        board.send(pack(short.body))
        assert await board.until(ctx, 1) == [ReferencePacket(PacketKind.FAULT, 0, bytes([Fault.SIZE]))]
        assert (await loaded(ctx, board, network(2)))[-1] == has(41)

    run(board, bench)


OVER = replace(LOADS, overwrites=True)
ABSENT = ReferencePacket(PacketKind.FAULT, 0, bytes([Fault.NETWORK]))


def test_networks_that_take_each_others_place():
    """Without a network requests for inferences are refused, and the digest is zeros; so it is from the first byte of
    another network on. What the engine has is forgotten before anything of the other one comes."""
    board = Board(OVER)

    async def bench(ctx):
        for seed in range(1, 4):
            data = network(seed)
            for offset in (0, 13, 26):
                board.send(pack(board.load(offset, data[offset : offset + 13]).body))
                assert await board.until(ctx, 1) == [has(offset + 13)]
                assert await told(ctx, board) == bytes(8)
                board.send(pack(board.request([0] * 5).body))
                assert await board.until(ctx, 1) == [ABSENT]
            assert not board.networks.pop(0)[1]
            board.send(pack(board.load(39, data[39:]).body))
            assert await board.until(ctx, 1) == [has(41)]
            assert board.networks.pop() == (data[8:], True)
            assert await told(ctx, board) == data[:8]
            elements, _ = board.draw()
            board.send(pack(board.request(elements, 5).body))
            assert await board.until(ctx, 1) == [board.reply(elements, 5)]
        assert (await loaded(ctx, board, network(1, last=78)))[-1] == ABSENT
        board.send(pack(board.request([0] * 5).body))
        assert await board.until(ctx, 1) == [ABSENT]

    run(board, bench)


def test_no_request_waits_behind_a_network_that_is_still_to_come():
    """It would wait for the rest of the network, which would wait behind it."""
    board = Board(OVER)

    async def bench(ctx):
        assert (await loaded(ctx, board, network(1)))[-1] == has(41)
        board.rests = board.now + 2000
        first, second = board.request([1] * 5), board.request([2] * 5)
        board.send(pack(first.body) + pack(board.load(0, network(2)[:4]).body) + pack(second.body))
        assert await board.until(ctx, 3) == [board.reply([1] * 5), has(4), ABSENT]
        assert (await loaded(ctx, board, network(3)))[-1] == has(41)
        board.send(pack(second.body))
        assert await board.until(ctx, 1) == [board.reply([2] * 5)]

    run(board, bench)


def test_a_network_waits_for_the_replies_before_it():
    """An input of one element can be on its way to the engine when its request is through."""
    board = Board(OVER, work=800)

    async def bench(ctx):
        assert (await loaded(ctx, board, network(1)))[-1] == has(41)
        came = len(board.networks)
        board.send(pack(board.request([1] * 5).body) + pack(board.load(0, network(2)[:10]).body))
        while not board.packets:
            assert len(board.networks) == came
            assert not board.network
            await board.tick(ctx)
        assert await board.until(ctx, 2) == [board.reply([1] * 5), has(10)]

    run(board, bench)


def test_the_digest_is_that_of_one_network():
    """It is told while another network comes."""
    board = Board(OVER)

    async def bench(ctx):
        assert (await loaded(ctx, board, network(1)))[-1] == has(41)
        for gap in range(0, 60, 7):
            board.send(pack(ReferencePacket(PacketKind.INFO, 0).body) + b"\xc0" * gap)
            board.send(pack(board.load(0, network(2)[:12]).body))
            told, piece = await board.until(ctx, 2)
            assert told.payload[10:18] in (network(1)[:8], bytes(8))
            assert piece == has(12)
            assert (await loaded(ctx, board, network(1)))[-1] == has(41)

    run(board, bench, 200_000)


def test_the_first_network_may_be_stored():
    """It is taken like that of a request, which nobody replies to; requests bring the others."""
    board = Board(OVER, stored=network(1))

    async def bench(ctx):
        for _ in range(1000):
            await board.tick(ctx)
        assert not board.stored
        assert board.networks[-1] == (network(1)[8:], True)
        assert await told(ctx, board) == network(1)[:8]
        assert (await loaded(ctx, board, network(2)))[-1] == has(41)
        assert await told(ctx, board) == network(2)[:8]

    run(board, bench)


def test_boards_without_a_port_know_no_networks():
    board = Board(PLAIN)

    async def bench(ctx):
        board.send(pack(board.load(0, b"abcd").body))
        assert await board.until(ctx, 1) == [ReferencePacket(PacketKind.FAULT, 0, bytes([Fault.KIND]))]

    run(board, bench)
