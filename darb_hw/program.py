"""Where the program ``darb`` starts. Nothing is imported before Ctrl-C is looked after."""

import sys

__all__ = ["main"]


def main() -> None:
    """The console script ``darb``: ends with an exit code and at most one line on stderr."""
    try:
        from darb_hw import cli

        cli.main()
    except KeyboardInterrupt:  # while modules are loaded; commands have their own
        print("darb: error: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
