"""What a sparsity format costs in hardware: the same skeleton of an engine with the decoder of each.

    python -m benchmarks.formats --help

``layers`` prunes, ``encodings`` turns a masked matrix into codes, ``decoders`` turns codes into addresses,
``skeleton`` is the engine around them, ``build`` simulates and synthesises, ``measure`` does all of it for one point,
``page`` writes docs/results/formats.md.
"""
