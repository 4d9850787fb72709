"""Many engines of one network: grids and plots."""
