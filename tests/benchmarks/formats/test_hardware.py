"""Decoders against their reference in NumPy, step by step; skeletons against the product of the matrix."""

import numpy as np
import pytest

from benchmarks.formats.build import accumulator_bits
from benchmarks.formats.decoders import decoder_of, group_fields
from benchmarks.formats.encodings import columns
from benchmarks.formats.skeleton import CHAIN, Skeleton
from tests.benchmarks.formats.random_formats import KINDS, random_format
from tests.hw.amaranth_sim import simulate


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_decoder(kind, aligned, seed):
    _, encoded = random_format(kind, seed)
    decoder = decoder_of(encoded, aligned)
    bits = encoded.offset_bits
    region = 1 if aligned else (1 << bits) - 3
    fields = group_fields(encoded)
    group = np.repeat(np.arange(len(encoded.steps)), encoded.steps)
    first = np.concatenate([np.arange(steps) == 0 for steps in encoded.steps])
    # Index bits of planes that a group does not have are anything.
    index = encoded.index.copy()
    if encoded.kind == "level":
        noise = np.random.default_rng(seed).integers(0, 1 << encoded.index_bits, index.shape)
        own = np.repeat(encoded.levels[:, :1], encoded.steps, axis=0)
        index |= noise >> own << own
    expected = columns(encoded)
    if aligned:  # stays within its region
        expected = expected % (1 << bits) + (region << bits)
    else:
        expected = (expected + region) % (1 << len(decoder.address[0]))

    async def bench(ctx):
        ctx.set(decoder.region, region)
        await ctx.tick()
        got = []
        for step in range(len(group) + decoder.early + decoder.latency):
            here = min(step, len(group) - 1)
            if hasattr(decoder, "first"):
                ctx.set(decoder.first, int(first[here]) if step < len(group) else 0)
            if hasattr(decoder, "place"):
                ctx.set(decoder.place, here % encoded.span)
            for name, values in fields.items():
                ctx.set(decoder.group[name], values[group[here]])
            if encoded.index_bits and decoder.early <= step < len(group) + decoder.early:
                for copy, value in enumerate(index[(step - decoder.early) // encoded.span].tolist()):
                    ctx.set(decoder.index[copy], value)
            await ctx.tick()
            got.append([ctx.get(decoder.address[copy]) for copy in range(encoded.copies)])
        late = decoder.early + decoder.latency - 1
        assert got[late : late + len(group)] == expected.tolist()

    simulate(decoder, bench)


@pytest.mark.parametrize(("kind", "lanes"), [*((kind, 4) for kind in KINDS), ("block4", 20)])
def test_skeleton(kind, lanes):
    seed = 11
    matrix, encoded = random_format(kind, seed, lanes, (24, 30))
    skeleton = Skeleton(encoded, accumulator_bits([encoded]))
    regions = skeleton.memory_depth >> encoded.offset_bits
    assert regions == 2
    rng = np.random.default_rng(seed)
    memory = rng.integers(-128, 128, (regions, skeleton.memory_depth // regions))
    memory[0] = np.where(memory[0] < 0, -128, 127)
    width = min(CHAIN, lanes)

    async def product(ctx, region):
        ctx.set(skeleton.region, region)
        ctx.set(skeleton.start, 1)
        beats = []
        for cycle in range(1, skeleton.total + 3):
            await ctx.tick()
            ctx.set(skeleton.start, 0)
            if ctx.get(skeleton.valid):
                beats.append([ctx.get(skeleton.sums[chain]) for chain in range(len(skeleton.sums))])
                last = cycle
        assert last == skeleton.total
        assert len(beats) == len(encoded.steps) * width
        by_lane = np.array(beats).reshape(len(encoded.steps), width, -1).transpose(0, 2, 1)
        by_lane = by_lane.reshape(len(encoded.steps), -1)[:, :lanes]
        there = encoded.rows >= 0
        sums = np.zeros(len(matrix), np.int64)
        sums[encoded.rows[there]] = by_lane[there]
        assert sums.tolist() == (matrix @ memory[region, : matrix.shape[1]]).tolist()
        assert not ctx.get(skeleton.busy)

    async def bench(ctx):
        for address, value in enumerate(memory.ravel().tolist()):
            ctx.set(skeleton.write_enable, 1)
            ctx.set(skeleton.write_address, address)
            ctx.set(skeleton.write_data, value)
            await ctx.tick()
        ctx.set(skeleton.write_enable, 0)
        await ctx.tick().repeat(2)
        for region in (0, 1):
            await product(ctx, region)

    simulate(skeleton, bench)
