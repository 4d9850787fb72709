"""What a device offers: memories, multipliers, primitives of its family."""
