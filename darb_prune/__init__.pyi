from .encoded import DENSE as DENSE
from .encoded import EMPTY as EMPTY
from .encoded import EncodedNetwork as EncodedNetwork
from .encoded import Level as Level
from .encoded import TestVectors as TestVectors
from .encoded.decoder import decode as decode
from .errors import DarbError as DarbError
from .errors import DataError as DataError
from .errors import ModelError as ModelError
from .errors import NetworkError as NetworkError
from .frontend.joined_inputs import JoinedInputs as JoinedInputs
from .frontend.onnx.load import load_onnx as load_onnx
from .frontend.tflite.load import load_tflite as load_tflite
from .frontend.torch_quantized import import_quantized as import_quantized
from .integer.check import ModelReport as ModelReport
from .integer.check import check as check
from .integer.encoder import encode as encode
from .integer.network import IntegerNetwork as IntegerNetwork
from .integer.quantization import quantize as quantize
from .modules.block_term import BlockTermConv2d as BlockTermConv2d
from .modules.block_term import BlockTermGRU as BlockTermGRU
from .modules.block_term import BlockTermLinear as BlockTermLinear
from .modules.block_term import BlockTermLSTM as BlockTermLSTM
from .modules.masked import load_pruned as load_pruned
from .pruning.gradual import Gradual as Gradual
from .pruning.gradual import gradual as gradual
from .pruning.methods import BMWM as BMWM
from .pruning.methods import NM as NM
from .pruning.methods import BankBalanced as BankBalanced
from .pruning.methods import Block as Block
from .pruning.methods import Channels as Channels
from .pruning.methods import Darb as Darb
from .pruning.methods import Irregular as Irregular
from .pruning.methods import Mixed as Mixed
from .pruning.methods import Neurons as Neurons
from .pruning.methods import Structured as Structured
from .pruning.methods import StructuredColumns as StructuredColumns
from .pruning.methods import StructuredRows as StructuredRows
from .pruning.methods import Unpruned as Unpruned
from .pruning.one_shot import prune as prune
from .pruning.schedule import PruningSchedule as PruningSchedule
from .structure.block_term import block_term as block_term
from .structure.merging import merge as merge
from .structure.partition import partition as partition
from .structure.selection import UnitSelection as UnitSelection
from .structure.selection import select_channels as select_channels
from .structure.selection import select_neurons as select_neurons
from .training.heads import HeadLoss as HeadLoss
from .training.loop import evaluate as evaluate
from .training.loop import finetune as finetune
from .training.loop import train as train

__all__ = [
    "BMWM",
    "DENSE",
    "EMPTY",
    "NM",
    "BankBalanced",
    "Block",
    "BlockTermConv2d",
    "BlockTermGRU",
    "BlockTermLSTM",
    "BlockTermLinear",
    "Channels",
    "Darb",
    "DarbError",
    "DataError",
    "EncodedNetwork",
    "Gradual",
    "HeadLoss",
    "IntegerNetwork",
    "Irregular",
    "JoinedInputs",
    "Level",
    "Mixed",
    "ModelError",
    "ModelReport",
    "NetworkError",
    "Neurons",
    "PruningSchedule",
    "Structured",
    "StructuredColumns",
    "StructuredRows",
    "TestVectors",
    "UnitSelection",
    "Unpruned",
    "block_term",
    "check",
    "decode",
    "encode",
    "evaluate",
    "finetune",
    "gradual",
    "import_quantized",
    "load_onnx",
    "load_pruned",
    "load_tflite",
    "merge",
    "partition",
    "prune",
    "quantize",
    "select_channels",
    "select_neurons",
    "train",
]
