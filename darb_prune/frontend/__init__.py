"""From a module or an ONNX file to the stages that are quantised."""
