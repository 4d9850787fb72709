"""From an encoded network to a placed inference engine.

Nothing heavy is loaded before it is used; torch never is.
"""

import importlib
from typing import Any

_HOME = {
    "Build": "emit",
    "Device": "config",
    "DEVICES": "config",
    "EngineConfig": "config",
    "Plan": "plan.plan",
    "PlanError": "errors",
    "ToolError": "errors",
    "generate": "emit",
    "synthesise": "synthesis.synth",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
