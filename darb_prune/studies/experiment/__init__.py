"""Methods x ratios x seeds, from one file into tables and plots."""
