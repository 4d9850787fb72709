"""Pruning, quantisation and encoding of PyTorch models for the DARB inference engine.

Nothing heavy is loaded before it is used: ``import darb_prune`` loads neither torch nor NumPy, because the
hardware side of the project reads encoded networks without torch.

The method is a reconstruction: block-max weight masking and density-adaptive regular blocks after Ren et al.,
AAAI 2020 (arXiv 1911.08020), whose abstract fixes the idea but not thresholds, schedules or formats.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
