"""From a module or a model file to the stages that are quantised."""
