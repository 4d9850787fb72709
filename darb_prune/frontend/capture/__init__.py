"""From any ``nn.Module`` to its stages."""

from darb_prune.frontend.capture.model import capture, check_finite

__all__ = ["capture", "check_finite"]
