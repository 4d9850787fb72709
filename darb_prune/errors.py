"""What this project raises when the user is to blame: one line that names the thing and the remedy."""

__all__ = ["DarbError", "DataError", "ModelError", "NetworkError"]


class DarbError(ValueError):
    """A mistake in what the user gave us, options among them; the message is one line with the remedy."""


class ModelError(DarbError):
    """A model, or what is in it, that cannot be pruned, captured or quantised."""


class NetworkError(DarbError):
    """An encoded network that is not legal, a file of one that cannot be read, or test vectors that do not fit it."""


class DataError(DarbError):
    """A data set that is missing, incomplete or not what it should be."""
