"""Restricted pickles: arrays come back as they were, and nothing that stands in a file is run."""

import builtins
import copyreg
import io
import os
import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from input_pipeline.annotations import pickles
from input_pipeline.annotations.pickles import load_arrays
from input_pipeline.errors import DataError


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_come_back_as_they_were(tmp_path, protocol):
    arrays = {
        "floats": np.arange(6.0).reshape(2, 3),
        "columns first": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
        "big-endian": np.array([1, -2, 300], ">i4"),
        "every second": np.arange(10, dtype=np.uint8)[::2],
        "booleans": np.array([[True], [False]]),
        "half": np.array([0.5], np.float16),
        "no dimension": np.array(7.5),
        "once more": np.arange(3, dtype=np.int8),
        "größe": np.arange(70000, dtype=np.int32),  # larger than a frame of protocol 4
    }
    if protocol > 2:  # protocol 2 has no empty bytes
        arrays["empty"] = np.zeros((0, 5))
    found = load_arrays(_written(tmp_path / "a.pkl", pickle.dumps(arrays, protocol)))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
        assert not found[name].flags.writeable


def test_both_names_of_numpys_module(tmp_path):
    data = pickle.dumps({"a": np.arange(3)}, 2)
    new, old = b"numpy._core.multiarray", b"numpy.core.multiarray"
    assert (new in data) != (old in data)
    for module in (new, old):
        path = _written(tmp_path / "a.pkl", data.replace(new, old).replace(old, module))
        np.testing.assert_array_equal(load_arrays(path)["a"], np.arange(3))


def test_a_pickle_of_python_2(tmp_path):
    # Text and bytes alike are written as byte strings (U), and the flags of a dtype as integers.
    dtype = b"cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R"
    dtype += b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    content = struct.pack("<2d", 1.0, -0.1)
    state = b"(K\x01K\x02\x85" + dtype + b"\x89U\x10" + content + b"tb"
    data = b"\x80\x02}U\x05video" + array + state + b"s."
    assert pickle.loads(data, encoding="latin1")["video"].tolist() == [1.0, -0.1]
    assert load_arrays(_written(tmp_path / "a.pkl", data))["video"].tolist() == [1.0, -0.1]


class _Call:
    """Pickles as a call, which Python's own unpickler would make."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class _Stated:
    """Pickles as a class that is imported, made by __new__ and given a state."""

    def __init__(self):
        self.state = 1


def _malicious(marker: Path) -> dict[str, tuple[object, str]]:
    touch = f"touch {marker}"
    code = f"open({str(marker)!r}, 'w')"
    inside = np.array([_Call(os.system, touch), None], dtype=object)
    return {
        "os.system": (_Call(os.system, touch), f"{os.name}.system"),
        "eval": ({"a": _Call(eval, code)}, "eval"),
        "exec as a key": ({_Call(exec, code): np.zeros(3)}, "exec"),
        "nested in a tuple": ({"a": (1, (np.zeros(3), _Call(eval, code)))}, "eval"),
        "inside an object array": ({"a": inside}, "dtype 'O8'"),
        "object array": ({"a": np.array([1, "b"], dtype=object)}, "dtype 'O8'"),
        "copyreg": (_Call(copyreg._reconstructor, _Stated, object, None), "_reconstructor"),
        "copyreg of a class": ({"a": _Stated()}, "test_pickles._Stated"),
        "getattr": (_Call(getattr, "text", "upper"), "getattr"),
        "numpy.load": (_Call(np.load, str(marker)), "numpy.load"),
        "apply_along_axis": (_Call(np.apply_along_axis, eval, 0, [code]), "apply_along_axis"),
        "open": (_Call(builtins.open, str(marker), "w"), "open"),
        "text": ({"a": np.array(["text"])}, "dtype 'U4'"),
        "fields": ({"a": np.zeros(2, [("x", "i4")])}, "dtype 'V4'"),
        "list": ({"a": [1, 2]}, "EMPTY_LIST"),
        "number": ({"a": 3}, "value of 'a' is no array"),
        "bare array": (np.zeros(3), "holds no dict"),
        "key": ({3: np.zeros(3)}, "no text"),
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", _malicious(Path("marker")))
def test_nothing_is_run(tmp_path, name, protocol):
    marker = tmp_path / "marker"
    content, refused = _malicious(marker)[name]
    path = _written(tmp_path / "a.pkl", pickle.dumps(content, protocol))
    with pytest.raises(DataError) as error:
        load_arrays(path)
    assert str(path) in str(error.value)
    assert refused in str(error.value) or name == "copyreg of a class"
    assert not marker.exists()


def test_the_files_above_would_have_run(tmp_path):
    marker = tmp_path / "marker"
    pickle.loads(pickle.dumps(_malicious(marker)["eval"][0]))
    assert marker.exists()


class _PersistentPickler(pickle.Pickler):
    """Writes integers as names of objects that stand elsewhere."""

    def persistent_id(self, value):
        return "id" if isinstance(value, int) else None


def test_a_persistent_id_is_refused(tmp_path):
    file = io.BytesIO()
    _PersistentPickler(file, 4).dump({"a": 3})
    with pytest.raises(DataError, match="BINPERSID"):
        load_arrays(_written(tmp_path / "a.pkl", file.getvalue()))


def test_buffers_outside_of_the_file_are_refused(tmp_path):
    data = pickle.dumps({"a": np.arange(3)}, 5, buffer_callback=lambda buffer: None)
    with pytest.raises(DataError, match="NEXT_BUFFER"):
        load_arrays(_written(tmp_path / "a.pkl", data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x80\x02}\x82\x01.", "instruction EXT1"),
        (b"\x80\x02(ios\nsystem\n.", "instruction INST"),
        (b"\x80\x02cos\nsystem\n.", "import 'os.system'"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "import 'os.system'"),
        (b"\x80\x04\x8c\x05numpy\x8c\x04load\x93.", "import 'numpy.load'"),
        (b"\x80\x04cnumpy\ndtype\n)\x81.", "instruction NEWOBJ"),
        (b"\x80\x04cnumpy\ndtype\n}\x8c\x01xK\x01sb.", "state of something"),
        (b"\x80\x04cnumpy\nndarray\n(J\x00\x00\x00\x40tR.", "calls numpy.ndarray"),
        (b"\x80\x04cnumpy\nndarray\ncnumpy\ndtype\nR.", "calls numpy.ndarray"),
        (b"\x80\x04}\x8c\x01ac_codecs\nencode\n\x8c\x01x\x8c\x06rot-13\x86Rs.", "_codecs.encode"),
        (b"\x80\x04}(\x8c\x01aK\x01\x8c\x01aK\x02u.", "the key 'a' stands twice"),
        (b"\x80\x04}.}.", "follows the end"),
        (b"(dp0\n.", "protocol 2 to 5"),
        (b"\x80\x04}\x8c\x01a", "cut off"),
        (b"\x80\x04}s.", "damaged"),
        (b"\x80\x04h\x07.", "damaged"),
        (b"\x80\x04\xff.", "damaged"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fab.", "damaged"),  # 8 EiB of bytes
        (b"", "cut off"),
        (b"file,split\na,b\n", "pickle"),
    ],
)
def test_other_instructions_and_damage(tmp_path, data, message):
    with pytest.raises(DataError, match=message):
        load_arrays(_written(tmp_path / "a.pkl", data))


def test_every_truncation_is_an_error(tmp_path):
    data = pickle.dumps({"a": np.arange(3), "b": np.ones((1, 5))}, 4)
    for length in range(len(data)):
        with pytest.raises(DataError):
            load_arrays(_written(tmp_path / "a.pkl", data[:length]))


def test_every_changed_byte_is_an_error_or_arrays(tmp_path):
    data = pickle.dumps({"a": np.arange(3, dtype=np.int8)}, 4)
    path = tmp_path / "a.pkl"
    read = 0
    for place in range(len(data)):
        for value in (0, 1, 0x28, 0x52, 0x7F, 0xFF):  # small, mark, call, large
            path.write_bytes(data[:place] + bytes([value]) + data[place + 1 :])
            try:
                read += all(isinstance(array, np.ndarray) for array in load_arrays(path).values())
            except DataError:
                continue
    assert read > 0  # changes of the array's content or of its name


def _array_of_shape(shape: bytes) -> bytes:
    """A pickle of one int8 array of three elements that claims another shape."""
    data = pickle.dumps({"a": np.arange(3, dtype=np.int8)}, 3)
    assert data.count(b"K\x03\x85") == 1
    return data.replace(b"K\x03\x85", shape)


@pytest.mark.parametrize(
    "shape",
    [
        b"J\xff\xff\xff\x7f\x85",  # 2 GiB
        b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86",
        b"J\xff\xff\xff\xff\x85",  # -1
        b"J\xff\xff\xff\xffJ\xfd\xff\xff\xff\x86",  # -1 times -3
        b"K\x00\x8a\x09" + b"\xff" * 8 + b"\x00\x86",  # 0 times 2**64 - 1
        b"(" + b"K\x01" * 40 + b"K\x03t",  # more dimensions than NumPy has
        b"K\x04\x85",
        b"K\x02\x85",
        b"\x88\x85",  # (True,)
        b"K\x03",
    ],
)
def test_a_wrong_shape_is_refused_before_memory_is_taken(tmp_path, shape):
    path = _written(tmp_path / "a.pkl", _array_of_shape(shape))
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            load_arrays(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**20  # the file has some hundred bytes; the rest is the traceback


def test_bytes_cannot_be_multiplied(tmp_path):
    # One text of 1 MB, encoded by 100 calls that each take a few bytes in the file.
    text = b"X" + struct.pack("<I", 10**6) + b"a" * 10**6 + b"q\x01"
    call = b"c_codecs\nencode\nh\x01X\x06\x00\x00\x00latin1\x86R"
    with pytest.raises(DataError, match="more bytes than the file holds"):
        load_arrays(_written(tmp_path / "a.pkl", b"\x80\x02" + text + call * 100 + b"."))


def test_keys_that_would_take_forever_to_hash(tmp_path):
    # A tuple of twice the tuple before, 60 deep: hashing it visits 2**60 items.
    deep = b")" + b"".join(b"q%cj%c\x00\x00\x00\x86" % (i, i) for i in range(60))
    data = b"\x80\x04}" + deep + b"K\x01s."
    with pytest.raises(DataError, match="no text"):
        load_arrays(_written(tmp_path / "a.pkl", data))


def test_large_files_are_not_read(tmp_path, monkeypatch):
    path = _written(tmp_path / "a.pkl", pickle.dumps({"a": np.arange(3)}))
    monkeypatch.setattr(pickles, "MAX_FILE_BYTES", path.stat().st_size - 1)
    with pytest.raises(DataError, match="at most"):
        load_arrays(path)


def test_files_of_many_instructions_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "_MAX_INSTRUCTIONS", 1000)
    with pytest.raises(DataError, match="more than 1000 instructions"):
        load_arrays(_written(tmp_path / "a.pkl", b"\x80\x04" + b"(" * 2000 + b"."))
