"""From any ``nn.Module`` to its stages."""

from darb_prune.frontend.capture.findings import Finding
from darb_prune.frontend.capture.model import capture, check_finite, refusals

__all__ = ["Finding", "capture", "check_finite", "refusals"]
