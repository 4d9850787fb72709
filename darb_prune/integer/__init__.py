"""From floats to integers: ranges, training with rounding, quantisation, the oracle, the encoder."""
