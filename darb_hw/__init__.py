"""From an encoded network to a placed inference engine.

Nothing heavy is loaded before it is used; torch never is.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
