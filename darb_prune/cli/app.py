"""The application that the commands join."""

import typer

__all__ = ["app"]

app = typer.Typer(
    help="Prune, quantise and encode PyTorch models.", no_args_is_help=True, rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)  # fmt: skip
