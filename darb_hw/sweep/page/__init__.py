"""The page of a sweep: one HTML file with plots, filters and a table of its points."""
