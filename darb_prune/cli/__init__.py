"""The commands of ``darb`` from a model to an encoded network.

Nothing heavy is imported before a command runs, so that help is quick. Mistakes of the user leave a command
as :class:`DarbError`; the program around it prints one line and exits with 2.
"""

from darb_prune.cli import (  # their commands join the application, in the order of help
    block_term,
    merge,
    models,
    partition,
    studies,
)
from darb_prune.cli.app import app

__all__ = ["app", "block_term", "merge", "models", "partition", "studies"]
