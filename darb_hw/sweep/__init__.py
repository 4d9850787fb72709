"""Many engines of many networks: grids, the jobs of their points, tables and plots."""
