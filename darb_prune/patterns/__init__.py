"""From a weight matrix to what is kept of it: masks, levels, order, stored bits. Pure functions."""
