"""TFLite files as ordinary modules."""
