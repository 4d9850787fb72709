"""What this project raises when the user is to blame."""

__all__ = ["DarbError"]


class DarbError(ValueError):
    """A mistake in what the user gave us; the message is one line that names the thing and the remedy."""
