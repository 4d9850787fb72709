"""Finding, downloading (from a server in this process) and reading data."""

import gzip
import hashlib
import io
import os
import tarfile

import numpy as np
import pooch
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.io import wavfile

from darb_prune.errors import DataError
from darb_prune.tasks import data
from darb_prune.tasks.data import SOURCES, DataSets, DataSource, read_idx, read_text, read_wav


@pytest.fixture(autouse=True)
def roots(tmp_path, monkeypatch):
    """Three empty folders to search, in order; no network."""
    folders = [tmp_path / name for name in ("given", "environment", "cache")]
    for folder in folders[:2]:
        folder.mkdir()
    monkeypatch.setenv("DARB_DATA", str(folders[1]))
    monkeypatch.setattr(pooch, "os_cache", lambda _: folders[2])
    return folders


@pytest.fixture
def sets(roots):
    return DataSets(roots[0])


@pytest.fixture
def server(monkeypatch):
    """What addresses give; others fail as they do without a network."""
    pages = {}

    class Downloader:
        def __init__(self, **_):
            pass

        def __call__(self, url, output_file, pooch=None, check_only=False):
            if url not in pages:
                raise OSError(f"no route to\nhost for {url}")
            with open(output_file, "wb") as file:
                file.write(pages[url])

    monkeypatch.setattr(pooch, "HTTPDownloader", Downloader)
    return pages


def put(folder, name="words"):
    folder.mkdir(parents=True, exist_ok=True)
    for file in SOURCES[name].files:
        (folder / file).write_text("a")
    return folder


def test_folders_are_searched_in_order(roots, sets):
    assert not sets.available("words")
    for root in reversed(roots):
        folder = put(root / "words")
        assert sets.available("words")
        assert sets.find("words") == folder
    assert DataSets().find("words") == roots[1] / "words"
    (roots[0] / "words" / "valid.txt").unlink()
    assert sets.find("words") == roots[1] / "words"


def test_the_folder_itself_can_be_given(tmp_path):
    folder = put(tmp_path / "anything")
    assert DataSets(folder).find("words") == folder
    assert not DataSets().available("words")


def test_what_is_missing_is_said_in_one_line(roots, sets, server):
    with pytest.raises(
        DataError, match=r"data set 'words': not in .*given or .*environment or .*cache, and there is no"
    ):
        sets.find("words")
    with pytest.raises(
        DataError, match=r"downloading https://.* failed \(no route to host.*put input.txt into"
    ) as raised:
        sets.find("tinyshakespeare")
    assert "\n" not in str(raised.value)
    with pytest.raises(DataError, match="nowhere: no such folder"):
        DataSets(roots[0] / "nowhere")


def test_files_are_downloaded_once_and_checked(roots, sets, server, monkeypatch):
    digest = hashlib.sha256(b"to be").hexdigest()
    monkeypatch.setitem(SOURCES, "text", DataSource(("a.txt",), url="https://host/", digests={"a.txt": digest}))
    server["https://host/a.txt"] = b"not to be"
    with pytest.raises(DataError, match=r"SHA256 hash of downloaded file .* does not match"):
        sets.find("text")
    assert not sets.available("text")
    server["https://host/a.txt"] = b"to be"
    folder = sets.find("text")
    assert folder == roots[2] / "text"
    assert (folder / "a.txt").read_bytes() == b"to be"
    server.clear()
    assert sets.find("text") == folder


def archive(files):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def test_an_archive_is_checked_by_its_contents(roots, sets, server, monkeypatch):
    lines = [f"{hashlib.sha256(x).hexdigest()}  clips/r/{n}.wav\n" for n, x in (("a", b"1"), ("b", b"2"))]
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    url = "https://host/clips.tar.gz"
    monkeypatch.setitem(SOURCES, "clips", DataSource(("r/*.wav",), 2, url, archive_digest=digest))
    for contents in (b"3", b"2"):
        server[url] = archive({"clips-1/r/a.wav": b"1", "clips-1/r/b.wav": contents, "clips-1/README": b"x"})
        if contents == b"3":
            with pytest.raises(DataError, match="the SHA-256 of its files is"):
                sets.find("clips")
            assert not sets.available("clips")
    folder = sets.find("clips")
    assert folder == roots[2] / "clips"
    assert sorted(path.name for path in roots[2].iterdir()) == ["clips"]
    (folder / "r" / "b.wav").unlink()
    assert not sets.available("clips")
    assert sets.find("clips") == folder  # an incomplete download is replaced
    assert sets.available("clips")


@pytest.mark.parametrize("name", ["../out", "/tmp/../out", "clips-1/../../out"])
def test_no_member_of_an_archive_leaves_its_folder(tmp_path, name):
    """With any Python: filters of the module came with 3.11.4."""
    (tmp_path / "a.tar.gz").write_bytes(archive({"clips-1/a": b"1", name: b"2"}))
    folder = tmp_path / "outer" / "in"
    folder.mkdir(parents=True)
    with pytest.raises(ValueError, match=r"its member .*out leaves the folder"):
        data._unpack(tmp_path / "a.tar.gz", folder)
    assert [path.name for path in folder.parent.iterdir()] == ["in"]


def test_links_and_devices_of_an_archive_are_left_out(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        for name, kind in (("link", tarfile.SYMTYPE), ("pipe", tarfile.FIFOTYPE), ("hard", tarfile.LNKTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            tar.addfile(entry)
        entry = tarfile.TarInfo("link/a")
        entry.size = 1
        tar.addfile(entry, io.BytesIO(b"1"))
    data._unpack(tmp_path / "a.tar.gz", tmp_path / "in")
    assert [path.name for path in (tmp_path / "in").rglob("*")] == ["link", "a"]


def test_pipes_are_no_files_of_a_data_set(tmp_path):
    for name in SOURCES["words"].files:
        os.mkfifo(tmp_path / name)
    assert not DataSets(tmp_path).available("words")


def test_the_pinned_digest_of_the_clips_is_theirs(monkeypatch):
    monkeypatch.undo()
    sets = DataSets()
    if not sets.available("fsdd"):
        pytest.skip("data set fsdd is not here; $DARB_DATA names the folder that holds it")
    source = SOURCES["fsdd"]
    assert data._digest(sets.find("fsdd"), "fsdd", source) == source.archive_digest


def test_every_source_is_pinned():
    for name, source in SOURCES.items():
        if source.url:
            assert source.archive_digest or set(source.digests) == set(source.files), name


def idx(array):
    header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    return header + array.tobytes()


@given(array=hnp.arrays(np.uint8, hnp.array_shapes(max_dims=3, max_side=4)), cut=st.integers(1, 5))
def test_idx_files_are_read_whole_or_not_at_all(tmp_path_factory, array, cut):
    path = tmp_path_factory.getbasetemp() / "a.gz"
    path.write_bytes(gzip.compress(idx(array)))
    assert np.array_equal(read_idx(path), array)
    path.write_bytes(gzip.compress(idx(array)[:-cut]))
    with pytest.raises(DataError, match=r"a.gz: .*; get it again"):
        read_idx(path)
    path.write_bytes(gzip.compress(idx(array))[:-cut])
    with pytest.raises(DataError, match=r"a.gz: not a whole gzip file"):
        read_idx(path)


@pytest.mark.parametrize("sides", [(1,) * 100 + (0,), (1 << 31, 1 << 31, 4)])
def test_idx_files_of_impossible_shapes(tmp_path, sides):
    """More dimensions than arrays have; more elements than 64 bits count."""
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes((0, 0, 8, len(sides))) + np.array(sides, ">u4").tobytes()))
    with pytest.raises(DataError, match=r"a.gz: (not an IDX file|holds 0 values)"):
        read_idx(path)


def test_texts_and_clips_are_checked(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("Grüße".encode("latin-1"))
    with pytest.raises(DataError, match=r"a.txt: not UTF-8 text \(byte 2\)"):
        read_text(path)
    clip = tmp_path / "a.wav"
    wavfile.write(clip, 8000, np.array([0, 16384, -32768], np.int16))
    assert read_wav(clip, 8000).tolist() == [0, 0.5, -1]
    with pytest.raises(DataError, match=r"a.wav: 8000 Hz, int16, 1 dimension\(s\); 16000 Hz"):
        read_wav(clip, 16000)
    whole = clip.read_bytes()
    for damaged in (b"RIFF", b"RIFX" + whole[4:8], whole[:-2], b"no" + whole[2:]):
        clip.write_bytes(damaged)
        with pytest.raises(DataError, match="cannot be read as wav"):
            read_wav(clip, 8000)


def test_a_folder_called_like_another_data_set_is_not_this_one(tmp_path, monkeypatch):
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name in SOURCES["fashion-mnist"].files:
        (folder / name).write_bytes(b"")
    monkeypatch.setenv("DARB_DATA", str(folder))
    assert DataSets().available("mnist")
    assert not DataSets().available("fashion-mnist")
