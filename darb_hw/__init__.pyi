from .config import DEVICES as DEVICES
from .config import Device as Device
from .config import EngineConfig as EngineConfig
from .emit import Build as Build
from .emit import generate as generate
from .errors import PlanError as PlanError
from .errors import ToolError as ToolError
from .plan.plan import Plan as Plan
from .synthesis.synth import synthesise as synthesise

__all__ = [
    "DEVICES",
    "Build",
    "Device",
    "EngineConfig",
    "Plan",
    "PlanError",
    "ToolError",
    "generate",
    "synthesise",
]
