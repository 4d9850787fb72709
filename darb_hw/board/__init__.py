"""Boards: the engine with a host link, a clock and pins, down to the bitstream."""
