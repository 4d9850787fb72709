"""The engine, a component a file."""
