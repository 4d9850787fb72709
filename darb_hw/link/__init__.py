"""The host link: packets of bytes <-> frames of the engine."""
