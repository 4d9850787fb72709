"""Designs that estimates are fitted on: networks of random weights, synthesised and in part placed."""
