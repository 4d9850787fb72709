"""Training: the loop, batches, metrics, checkpoints, distillation, gradients."""
