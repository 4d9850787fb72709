"""Where data sets are found, how they are downloaded, and how their files are read."""

import gzip
import hashlib
import math
import os
import shutil
import struct
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pooch
import requests
from scipy.io import wavfile

from darb_prune.errors import DataError
from darb_prune.text import printable

__all__ = ["SOURCES", "DataSets", "DataSource", "read_arrays", "read_idx", "read_text", "read_wav"]


@dataclass(frozen=True)
class DataSource:
    """The files of a data set, and where they come from.

    Parameters
    ----------
    files : tuple of str
        Paths or glob patterns inside the folder of the data set. Each must match at least ``count`` files.
    count : int
    url : str
        Address of the folder of the files, or of a ``.tar.gz``. Empty if there is none.
    digests : dict of str to str
        SHA-256 of each downloaded file. Local files are not compared, because their compression may differ.
    archive_digest : str
        For a ``.tar.gz``: SHA-256 of what ``sha256sum SET/FILES`` prints, with the files in order of their names. The
        host makes the archive on request, so the digest of the archive itself is not fixed.
    hint : str
        Another remedy if the data set is missing.
    """

    files: tuple[str, ...]
    count: int = 1
    url: str = ""
    digests: dict[str, str] = field(default_factory=dict)
    archive_digest: str = ""
    hint: str = ""


def _pinned(url: str, digests: dict[str, str]) -> DataSource:
    return DataSource(tuple(digests), url=url, digests=digests)


SOURCES = {
    "mnist": _pinned(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
    ),
    "fashion-mnist": _pinned(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        {
            "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
    ),
    "tinyshakespeare": _pinned(
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/",
        {"input.txt": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"},
    ),
    "fsdd": DataSource(
        ("recordings/*.wav",),
        count=3000,
        url="https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.tar.gz",
        archive_digest="8f12bbbd51d141d7b73139fc9ba83cf9aaea4b7a385284e7710430761b28b673",
    ),
    "weights/cifar10_resnet": _pinned(
        "https://raw.githubusercontent.com/akamaster/pytorch_resnet_cifar10/master/pretrained_models/",
        {"resnet20-12fca82f.th": "12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8"},
    ),
    "cifar10-subset": DataSource(("cifar10_4000train_1000test.npz",)),
    "weights/ml_kws": DataSource(("GRU_L.npz", "LSTM_L.npz")),
    "kws01-mfcc": DataSource(("kws01/*.bin",), count=1000),
    "mlperf-tiny": DataSource(("ds_cnn.npz", "resnet8.npz", "mobilenetv1_025_96.npz", "autoencoder.npz")),
    "words": DataSource(("train.txt", "valid.txt", "test.txt"), hint="any text in these three files will do"),
}


@dataclass(frozen=True)
class DataSets:
    """The data sets of this machine, and those that can be downloaded.

    Folders are searched in this order: ``folder``, the one that ``$DARB_DATA`` names, the user's cache. In each of
    them, a data set can be a folder of its name, or the searched folder itself. A data set that is in none of them is
    downloaded into the cache if it has an address.

    Parameters
    ----------
    folder : pathlib.Path, optional
        Searched first (``--data-dir``).

    Raises
    ------
    DataError
        If there is no such folder.
    """

    folder: Path | None = None

    def __post_init__(self) -> None:
        if self.folder is not None and not self.folder.is_dir():
            raise DataError(f"{self.folder}: no such folder; give the one that holds the data sets")

    def available(self, name: str) -> bool:
        """Whether data set ``name`` is on this machine, so that :meth:`find` downloads nothing."""
        return self._local(name) is not None

    def find(self, name: str) -> Path:
        """The folder of data set ``name``, which is downloaded if it is not on this machine.

        Raises
        ------
        DataError
            If it is in none of the folders and cannot be downloaded. The message says where to put which files.
        """
        source = SOURCES[name]
        folder = self._local(name)
        if folder is not None:
            return folder
        why = "there is no address to download it from"
        if source.url:
            try:
                return _download(name, source)
            except (OSError, ValueError, EOFError, zlib.error, tarfile.TarError) as error:
                lost = isinstance(error, requests.ConnectionError)  # its own text is a page long
                reason = "no connection" if lost else " ".join(str(error).split())
                why = f"downloading {source.url} failed ({reason})"
        roots = " or ".join(map(str, self._roots()))
        files = ", ".join(source.files)
        hint = f"; {source.hint}" if source.hint else ""
        raise DataError(
            f"data set {name!r}: not in {roots}, and {why}; put {files} into a folder {name}/ "
            f"there, or name the folder that holds {name}/ with --data-dir or $DARB_DATA{hint}"
        )

    def _roots(self) -> list[Path]:
        """The folders to search, in order."""
        roots = [] if self.folder is None else [self.folder]
        if named := os.environ.get("DARB_DATA"):
            roots.append(Path(named).expanduser())
        return [*roots, _cache()]

    def _local(self, name: str) -> Path | None:
        """The first folder that holds all of data set ``name``."""
        others = SOURCES.keys() - {name}
        for root in self._roots():
            if _complete(root / name, SOURCES[name]):
                return root / name
            # A folder that has the name of another data set is not this one, though its files may have the same names.
            if root.resolve().name not in others and _complete(root, SOURCES[name]):
                return root
        return None


def _cache() -> Path:
    return Path(pooch.os_cache("darb"))


def _complete(folder: Path, source: DataSource) -> bool:
    return all(sum(path.is_file() for path in folder.glob(pattern)) >= source.count for pattern in source.files)


def _download(name: str, source: DataSource) -> Path:
    """Fetch ``source`` into the user's cache. No file gets there before its SHA-256 is the pinned one."""
    folder = _cache() / name
    pooch.get_logger().setLevel("WARNING")
    # Its type and the protocol of pooch differ in the names of positional parameters only.
    get = cast(Any, pooch.HTTPDownloader(timeout=30))
    if not source.archive_digest:
        for file, digest in source.digests.items():
            pooch.retrieve(source.url + file, f"sha256:{digest}", file, folder, downloader=get)
        return folder
    # An archive is unpacked into a scratch folder and checked there.
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        archive = pooch.retrieve(source.url, None, "archive.tar.gz", scratch, downloader=get)
        _unpack(Path(archive), Path(scratch))
        (inner,) = (path for path in Path(scratch).iterdir() if path.is_dir())
        digest = _digest(inner, name, source)
        if digest != source.archive_digest:
            raise ValueError(f"the SHA-256 of its files is {digest}, not {source.archive_digest}")
        if folder.exists():  # an incomplete data set, or there would be no download
            shutil.rmtree(folder)
        os.replace(inner, folder)
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack the files of a ``.tar.gz``, and nothing else: Python 3.11 has filters only from 3.11.4 on."""
    with tarfile.open(archive) as tar:
        for member in tar:
            path = folder / member.name
            if not path.resolve().is_relative_to(folder.resolve()):
                raise ValueError(f"its member {printable(member.name)} leaves the folder")
            source = tar.extractfile(member) if member.isreg() else None
            if source is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    shutil.copyfileobj(source, file)


def _digest(folder: Path, name: str, source: DataSource) -> str:
    """The ``archive_digest`` of the files in ``folder``."""
    paths = sorted(path.relative_to(folder).as_posix() for pattern in source.files for path in folder.glob(pattern))
    lines = [f"{hashlib.sha256((folder / path).read_bytes()).hexdigest()}  {name}/{path}\n" for path in paths]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def read_arrays(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The float32 arrays of a ``.npz`` file, which are read only if their names and shapes are the expected ones.

    Parameters
    ----------
    path : pathlib.Path
    shapes : mapping of str to tuple of int
        Name and shape of every array.

    Raises
    ------
    DataError
        If the file is damaged, holds other arrays, or a value is not finite.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
            if other := sorted(names ^ shapes.keys()):
                raise ValueError(f"{other[0]} is {'missing' if other[0] in shapes else 'too much'}")
            return {name: _read_array(archive, name, shape) for name, shape in shapes.items()}
    except (OSError, ValueError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: not the expected arrays ({error}); get it again") from error


def _read_array(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The size of a file does not follow from what its header says, but from ``shape``: nothing large is read."""
    with archive.open(f"{name}.npy") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{name} has another version")
        stored, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
        if (stored, by_columns, dtype) != (shape, False, np.dtype("<f4")):
            raise ValueError(f"{name} is {dtype} of shape {stored}, not float32 of shape {shape}")
        data = file.read(4 * math.prod(shape))
        if len(data) != 4 * math.prod(shape) or file.read(1):
            raise ValueError(f"{name} has another length")
    values = np.frombuffer(data, "<f4").reshape(shape).astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has values that are not finite")
    return values


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array of a gzipped IDX file (the format of MNIST, http://yann.lecun.com/exdb/mnist).

    Raises
    ------
    DataError
        If the file is damaged or holds something else.
    """
    try:
        with gzip.open(path) as file:
            data = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a whole gzip file ({error}); get it again") from error
    dimensions = data[3] if len(data) > 3 else 0
    start = 4 + 4 * dimensions
    if data[:3] != b"\0\0\x08" or len(data) < start or dimensions > 4:
        raise DataError(f"{path}: not an IDX file of bytes; get it again")
    shape = np.frombuffer(data, ">u4", dimensions, 4).tolist()
    if len(data) - start != math.prod(shape):
        raise DataError(f"{path}: holds {len(data) - start} values, its header says {math.prod(shape)}; get it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def read_text(path: Path) -> str:
    """The text of a UTF-8 file; :class:`DataError` if it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}); convert it") from error


def read_wav(path: Path, rate: int) -> np.ndarray:
    """The samples of a mono 16-bit wav file of ``rate`` Hz: float32 of shape (samples,), -1 to 1.

    Raises
    ------
    DataError
        If the file is damaged or has another format.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", wavfile.WavFileWarning)  # of a file that ends too early
            file_rate, samples = wavfile.read(path)
    except (OSError, ValueError, struct.error, wavfile.WavFileWarning) as error:
        raise DataError(f"{path}: cannot be read as wav ({error}); get it again") from error
    if file_rate != rate or samples.dtype != np.int16 or samples.ndim != 1:
        raise DataError(
            f"{path}: {file_rate} Hz, {samples.dtype}, {samples.ndim} dimension(s); {rate} Hz, int16, mono is needed"
        )
    return (samples / 32768).astype(np.float32)
