"""ONNX files as ordinary modules."""
