"""MLPerf Tiny's networks by every way into the project: torch, ONNX from both exporters, quantised ONNX, TFLite."""
