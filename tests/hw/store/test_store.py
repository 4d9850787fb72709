"""Results that are kept: damaged, forged, written by many at once, of another version."""

import hashlib
import io
import json
import multiprocessing
import os
import random
import time
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darb_hw.store.entry import Entry, file_name
from darb_hw.store.pruning import expendable
from darb_hw.store.store import Record, Store
from darb_prune.encoded import DarbError

KEY = hashlib.sha256(b"a job").hexdigest()
ENTRY = Entry(KEY, "route", "seed 1", {"report.json": b"{}" * 99, "logs/nextpnr.log": b"Info: \xff"}, "")


def path_of(store, key=KEY):
    return store.folder / key[:2] / f"{key}.zip"


@given(
    st.dictionaries(st.from_regex(r"[a-z]{1,5}(/[a-z]{1,5})?\.v", fullmatch=True), st.binary(max_size=50), max_size=3),
    st.text(max_size=20),
)
def test_entries_through_bytes(files, failure):
    entry = Entry(KEY, "synthesis", "of a network", files, failure)
    assert Entry.unpack(entry.pack()) == entry
    assert entry.pack() == entry.pack()
    described = Entry.describe(io.BytesIO(entry.pack()))
    assert (described.failure, described.files) == (failure, {})


def test_kept_and_found_again(tmp_path):
    store = Store(tmp_path / "deep" / "store")
    assert store.get(KEY) is None
    assert not store.folder.exists()
    store.put(ENTRY)
    assert Store(store.folder).get(KEY) == ENTRY
    assert (store.folder / "version").read_text() == "1\n"
    with zipfile.ZipFile(path_of(store)) as archive:  # any program reads it
        assert archive.read("logs/nextpnr.log") == b"Info: \xff"
    # Who has read the first result must not see another one later.
    store.put(Entry(KEY, "route", "seed 1", {"report.json": b"other"}))
    assert store.get(KEY) == ENTRY


def test_no_byte_can_be_wrong(tmp_path):
    """Whatever is flipped, cut off or appended: the entry is as it was, or as good as absent, and written again."""
    store = Store(tmp_path)
    store.put(ENTRY)
    path, draws = path_of(store), random.Random(0)
    whole = path.read_bytes()
    absent = 0
    for _ in range(400):
        data = bytearray(whole)
        data[draws.randrange(len(data))] ^= 1 << draws.randrange(8)
        path.write_bytes(bytes(data) if draws.random() < 0.8 else whole[: draws.randrange(len(whole))])
        found = store.get(KEY)
        assert found in (None, ENTRY)
        absent += found is None
    assert absent > 300
    path.write_bytes(whole[:40])
    assert [record.kind for record in store.records()] == [""]
    assert store.damaged() == [KEY]
    store.put(ENTRY)
    assert store.get(KEY) == ENTRY


def forged(record, **files):
    """A sealed archive that says anything."""
    members = {"entry.json": json.dumps(record).encode(), **files}
    from io import BytesIO

    target = BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return target.getvalue()


RECORD = {"key": KEY, "kind": "route", "label": "", "failure": "", "files": {}}


@pytest.mark.parametrize(
    "record",
    [
        [], None, {}, RECORD | {"key": 3}, RECORD | {"more": 1}, RECORD | {"files": []}, RECORD | {"files": {"a": 1}},
        RECORD | {"files": {"../../a": hashlib.sha256(b"a").hexdigest()}},
        RECORD | {"files": {"/a": hashlib.sha256(b"a").hexdigest()}},
    ],
)  # fmt: skip
def test_forged_entries(record, tmp_path):
    data = forged(record, **{"a": b"a", "../../a": b"a", "/a": b"a"})
    assert Entry.unpack(data) is None
    assert Entry.unpack(forged(RECORD)) is not None


def test_an_entry_under_another_key(tmp_path):
    store = Store(tmp_path)
    store.put(ENTRY)
    other = "0" * 64
    path_of(store, other).parent.mkdir()
    path_of(store).rename(path_of(store, other))
    assert store.get(other) is None
    assert store.damaged() == [other]


def test_an_entry_that_unpacks_to_more_than_there_is_room(tmp_path, monkeypatch):
    data = Entry(KEY, "route", "", {"zeros": bytes(10**6)}).pack()
    assert len(data) < 5000
    monkeypatch.setattr("darb_hw.store.entry._LARGEST", 10**5)
    assert Entry.unpack(data) is None


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/../b", "/a", "a//b", "a/", "entry.json", "a\n", "-a", "a/b/c/d/e", 3]
)
def test_names_that_no_file_has(name):
    assert not file_name(name)
    assert file_name("rom/codes_0.hex")
    assert file_name("run/model.safetensors")


@pytest.mark.parametrize("version", ["2\n", "", "\xff" * 500])
def test_another_version(version, tmp_path, darb):
    (tmp_path / "version").write_text(version)
    with pytest.raises(DarbError, match=r": a store of version .*, this package has version 1; name another folder"):
        Store(tmp_path)
    code, out, err = darb("store", "list", "--store", tmp_path)
    assert (code, out, len(err.splitlines())) == (2, "", 1)


def test_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("DARB_STORE", str(tmp_path / "a"))
    assert Store().folder == tmp_path / "a"
    assert Store(tmp_path / "b").folder == tmp_path / "b"
    monkeypatch.delenv("DARB_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Store().folder == tmp_path / "darb" / "store"
    (tmp_path / "file").touch()
    with pytest.raises(DarbError, match="is no folder; name another with --store"):
        Store(tmp_path / "file")


def write_many(folder, writer, count):
    """Keys 0 .. count - 1 in an order of its own, each with what this writer says."""
    numbers = list(range(count))
    random.Random(writer).shuffle(numbers)
    store = Store(folder)
    for number in numbers:
        key = hashlib.sha256(str(number).encode()).hexdigest()
        store.put(Entry(key, "route", str(number), {"who": b"%d" % writer, "more": os.urandom(3000)}))
        assert store.get(key) is not None


def test_writers_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(tmp_path, writer, 150)) for writer in range(3)]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    assert [process.exitcode for process in writers] == [0, 0, 0]
    store = Store(tmp_path)
    assert sorted(int(entry.label) for entry in store.entries("route")) == list(range(150))
    assert store.damaged() == []
    assert not list(tmp_path.glob("*/.*"))


def test_what_a_killed_writer_leaves(tmp_path):
    store = Store(tmp_path)
    store.put(ENTRY)
    left = path_of(store).with_name(f".{KEY}.zip.abc")
    left.write_bytes(b"PK")
    assert list(store.keys()) == [KEY]
    assert store.tidy(time.time()) == 0  # its writer may be at work
    assert store.tidy(time.time() + 7200) == 1
    assert not left.exists()


def test_expendable():
    records = [Record(str(number), "route", "", "", 10, float(number)) for number in range(5)]

    def gone(seconds=None, most=None):
        return "".join(record.key for record in expendable(records[::-1], 5.0, seconds, most))

    assert gone() == "01234"
    assert gone(seconds=3.5) == "01"
    assert gone(most=25) == "012"
    assert gone(most=10**6) == ""
    assert gone(seconds=4.5, most=30) == "01"
    assert gone(seconds=1.5, most=30) == "0123"


def test_commands(tmp_path, darb):
    store, other = Store(tmp_path / "a"), Store(tmp_path / "b")
    store.put(ENTRY)
    store.put(Entry("1" * 64, "synthesis", "of [red]x", {}, "yosys failed"))
    code, out, _ = darb("store", "list", "--store", store.folder)
    assert code == 0
    assert "2 results" in out
    code, out, _ = darb("store", "list", "--entries", "--store", store.folder)
    assert "[red]x" in out
    code, out, _ = darb("store", "export", other.folder, "--kind", "route", "--store", store.folder)
    assert (code, list(other.keys())) == (0, [KEY])
    code, _, err = darb("store", "export", store.folder, "--store", store.folder)
    assert code == 2
    assert "is the store itself" in err
    code, out, _ = darb("store", "prune", "--store", store.folder)
    assert (code, len(list(store.keys()))) == (0, 2)
    path_of(other).write_bytes(b"PK")
    assert darb("store", "prune", "--store", other.folder)[0] == 0
    assert list(other.keys()) == []
    code, _, err = darb("store", "prune", "--keep", "many", "--store", store.folder)
    assert code == 2
    assert 'darb: error: --keep "many": write bytes' in err
    assert darb("store", "prune", "--keep", "0", "--store", store.folder)[0] == 0
    assert list(store.keys()) == []
