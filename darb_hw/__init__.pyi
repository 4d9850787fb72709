from .config import DEVICES as DEVICES
from .config import EngineConfig as EngineConfig
from .config import Target as Target
from .emit import Build as Build
from .emit import generate as generate
from .errors import PlanError as PlanError
from .errors import ToolError as ToolError
from .plan.plan import Plan as Plan
from .synthesis.synth import synthesise as synthesise

__all__ = [
    "DEVICES",
    "Build",
    "EngineConfig",
    "Plan",
    "PlanError",
    "Target",
    "ToolError",
    "generate",
    "synthesise",
]
