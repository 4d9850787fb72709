"""The other end of the link: boards, asked from Python."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(__name__, submod_attrs={"device": ["Device"]})
