"""Exported models: near JAX in every format and precision, or refused; whole folders or none."""

import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from anonymize_samples import exported, files_in, pictures, workdir
from PIL import Image
from video_samples import ROOT, write_video

import anon_jax
from anon_jax.export import checking, conversion
from anon_jax.export.__main__ import main
from anon_jax.export.checking import EQUAL, LEAST_PSNR, worst_psnr
from anon_jax.export.errors import ExportError
from anon_jax.export.folder import FORMATS, VERSION, check_combination, read_export
from anon_jax.export.frames import OF_A_VIDEO, drawn_frames, frames_of_files
from anon_jax.export.runtimes import need_libraries, open_model
from anon_jax.restore import Anonymizer

ALL = [(name, precision) for name, row in FORMATS.items() for precision in row.precisions]


def need(name):
    """Skips where the libraries of a format are missing."""
    try:
        need_libraries(name)
    except ImportError as error:
        pytest.skip(str(error))


def anonymizer(**networks):
    """The tiny f_A with BatchNorm that does something, and outputs of ordinary contrast."""
    like = anon_jax.load_anonymizer(exported())
    rng = np.random.default_rng(0)

    def changed(path, leaf):
        name = jax.tree_util.keystr(path)
        if "kernel" in name:
            # As wide as in the samples, but for the last: it would give black and white alone.
            return leaf * (0.2 if "output_conv" in name else 1)
        values = rng.uniform(0.5, 1.5, leaf.shape) if "scale" in name or "var" in name else (
            rng.normal(0, 0.1, leaf.shape)
        )  # fmt: skip
        return jax.numpy.asarray(values, "float32")

    net = jax.tree.map_with_path(changed, like.net)
    config = {**like.config, "networks": {**like.config["networks"], **networks}}
    return Anonymizer(config, net, folder_format=0, sha256="f" * 64)


@pytest.mark.parametrize(("name", "precision"), ALL)
def test_every_format_and_precision_is_near_jax(tmp_path, name, precision):
    need(name)
    model = anonymizer()
    frames = drawn_frames(8, 64)
    found = conversion.export(model, tmp_path / "out", name, precision, frames)
    assert found["worst"] >= LEAST_PSNR[precision]
    stored = read_export(tmp_path / "out")
    assert (stored.format, stored.precision, stored.sha256) == (name, precision, "f" * 64)
    facts = json.loads((tmp_path / "out" / "config.json").read_text())["export"]
    assert facts["psnr"] == found
    assert facts["config"] == model.config
    run = open_model(name, stored.model, precision, stored.multiple)
    # Other frames, another size, a batch, and sides that have to be padded.
    others = np.stack(pictures(3, 37, 53, seed=5))
    output, expected = run(others), model(others)
    assert output.dtype == np.uint8
    # What calibration has not seen may be a little further off.
    assert worst_psnr(output, expected) >= LEAST_PSNR[precision] - 3 * (precision == "int8")
    # As far from JAX as the precision has to be, or it would be another one that ran. A grey level
    # in a hundred differs by one in float32 (68 dB); eight bits for all tensors cannot reach 45.
    low, high = {"float32": (68, EQUAL), "bf16": (35, 60), "int8": (27, 45)}[precision]
    assert low <= worst_psnr(output, expected) <= high
    # One at a time is the same as a batch, but for sums in another order.
    assert worst_psnr(run(others[1:2]), output[1:2]) > 60


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_without_a_sigmoid_the_output_is_clipped(name):
    need(name)
    model = anonymizer(output_activation="identity")
    frames = np.stack(pictures(2, 32, 32))
    expected = model(frames)
    assert (expected == 0).mean() > 0.05  # there is something to clip
    run = conversion.convert(model, name, "float32")
    assert worst_psnr(run(frames), expected) >= LEAST_PSNR["float32"]


def test_a_merged_upsampling_is_the_same_function():
    need("onnx")
    from anon_jax.export.graph import build_graph
    from anon_jax.phases import modules

    model = anonymizer()
    module = modules.anonymizer(conversion.ConfigDict(model.config))
    frames = np.stack(pictures(2, 32, 48))
    outputs = []
    for merged in (False, True):
        graph = build_graph(module, model.net, merged_upsampling=merged)
        kinds = [node.op_type for node in graph.graph.node]
        assert ("Resize" in kinds, "ConvTranspose" in kinds) == (not merged, merged)
        outputs.append(open_model("onnx", graph.SerializeToString(), "float32", 16)(frames))
    # The same sums in another order: now and then a grey level.
    assert worst_psnr(*outputs) > 68


def test_int8_kernels_and_tensors_are_int8_and_joined_ones_share_a_scale():
    need("onnx")
    import onnx
    from onnx import numpy_helper

    frames = drawn_frames(4, 64)
    model = onnx.load_from_string(conversion.make_model(anonymizer(), "onnx", "int8", frames))
    weights = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node}
    for node in model.graph.node:
        if node.op_type == "Conv":
            kernel = makers[node.input[1]]
            assert weights[kernel.input[0]].dtype == np.int8
            assert len(weights[kernel.input[1]]) == weights[kernel.input[0]].shape[0]
            assert makers[node.input[0]].op_type == "DequantizeLinear"
        if node.op_type == "Concat":
            assert len({float(weights[makers[name].input[1]]) for name in node.input}) == 1
    # The largest weight of each output channel is worth 127 steps.
    kernel = weights[makers[makers["stem_conv"].input[1]].input[0]].astype(int)
    np.testing.assert_array_equal(np.abs(kernel).max(axis=(1, 2, 3)), 127)


def test_a_model_that_is_too_far_off_leaves_nothing(tmp_path, monkeypatch):
    need("onnx")
    monkeypatch.setitem(checking.LEAST_PSNR, "int8", 60.0)
    frames = drawn_frames(4, 64)
    with pytest.raises(ExportError, match=r"onnx model is [\d.]+ dB .* int8 has to reach 60 dB"):
        conversion.export(anonymizer(), tmp_path / "out", "onnx", "int8", frames)
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_a_folder_and_says_how_near_it_is(tmp_path, capsys):
    picture, video = tmp_path / "a.png", tmp_path / "b.mp4"
    Image.fromarray(pictures(1, 300, 240)[0]).save(picture)
    write_video(video, pictures(3, 48, 64))
    files = [f"--frames={picture}", f"--frames={video}"]
    arguments = [f"--checkpoint={workdir()}", "--format=stablehlo", *files]
    main([*arguments, f"--output={tmp_path / 'out'}"])
    assert "The worst of 4 frames of the files is" in capsys.readouterr().out
    assert files_in(tmp_path / "out") == ["config.json", "model.stablehlo", "probe.npz"]
    assert read_export(tmp_path / "out").sha256 == anon_jax.load_anonymizer(workdir()).sha256
    for changed, sentence in (
        ([f"--output={tmp_path / 'out'}"], "is there already"),
        ([f"--output={tmp_path / 'b'}", "--precision=int8"], "openvino: float32, bf16, int8"),
        ([f"--output={tmp_path / 'b'}", f"--frames={tmp_path / 'no.mp4'}"], "no.mp4"),
        ([f"--output={tmp_path / 'b'}", f"--checkpoint={tmp_path}"], "no config.json"),
        ([f"--output={picture / 'b'}"], "could not be written"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([*arguments, *changed])
        assert sentence in ended.value.code  # a sentence, so the exit code is 1
        assert "nothing was written" in ended.value.code
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.mp4", "out"]


def test_an_unknown_precision_or_format_lists_what_there_is(tmp_path, capsys):
    for wrong in ("--precision=int4", "--format=tflite"):
        arguments = ["--checkpoint=x", f"--output={tmp_path / 'o'}", "--format=onnx", wrong]
        with pytest.raises(SystemExit):
            main(arguments)
        said = capsys.readouterr().err
        assert "int8" in said or "stablehlo" in said
    with pytest.raises(ExportError, match=r"onnx: float32, int8; openvino: .*; stablehlo: float32"):
        check_combination("onnx", "bf16")


def test_too_few_frames(tmp_path):
    for precision, frames, sentence in (
        ("int8", drawn_frames(1, 32), "one to calibrate on, another to check"),
        ("float32", [], "needs at least a frame"),
    ):
        with pytest.raises(ExportError, match=sentence):
            conversion.export(anonymizer(), tmp_path / "o", "openvino", precision, frames)


def test_frames_of_files_are_small_and_spread_over_the_video(tmp_path):
    video = tmp_path / "a.mp4"
    levels = range(0, 200, 4)
    write_video(video, [np.full((48, 64, 3), level, np.uint8) for level in levels])
    found = [frame.mean() for frame in frames_of_files([video])]
    assert len(found) == OF_A_VIDEO
    assert found[0] < 3  # the codec's rounding
    assert found[-1] > levels[-1] - 3
    steps = np.diff(found)
    assert steps.max() - steps.min() < 10  # 50 frames by 16: three or four, of 4 levels each
    picture = tmp_path / "b.png"
    Image.fromarray(pictures(1, 600, 448)[0]).save(picture)
    assert [frame.shape for frame in frames_of_files([picture])] == [(300, 224, 3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("stablehlo") / "out"
    conversion.export(anonymizer(), path, "stablehlo", "float32", drawn_frames(1, 32))
    return path


def test_newer_damaged_and_foreign_folders(tmp_path, folder):
    assert read_export(exported()) is None
    assert read_export(workdir()) is None
    assert read_export(tmp_path / "nothing") is None
    config = json.loads((folder / "config.json").read_text())["export"]
    for changes, sentence in (
        ({"version": VERSION + 1}, f"of version {VERSION + 1}.* up to {VERSION}: update"),
        ({"version": "two"}, "of version two"),
        ({"format": "tflite"}, "no export as tflite"),
        ({"files": {}}, "is damaged: KeyError"),
        ({"files": None}, "is damaged: TypeError"),
        ({"files": {**config["files"], "probe.npz": "0"}}, "probe.npz is not the file"),
    ):
        copy = shutil.copytree(folder, tmp_path / "copy", dirs_exist_ok=True)
        (copy / "config.json").write_text(json.dumps({"export": {**config, **changes}}))
        with pytest.raises(ExportError, match=sentence):
            read_export(copy)
    copy = shutil.copytree(folder, tmp_path / "cut", dirs_exist_ok=True)
    model = copy / "model.stablehlo"
    model.write_bytes(model.read_bytes()[:-9])
    with pytest.raises(ExportError, match=r"model.stablehlo is not the file"):
        read_export(copy)
    model.unlink()
    with pytest.raises(ExportError, match=r"model.stablehlo cannot be read; export"):
        read_export(copy)


def test_psnr_is_that_of_the_worst_frame():
    frames = np.full((2, 4, 4, 3), 100, np.uint8)
    other = frames.copy()
    other[1] += 10
    assert worst_psnr(frames, frames) == EQUAL
    assert worst_psnr(other, frames) == pytest.approx(20 * np.log10(255 / 10))
    with pytest.raises(ExportError, match="not uint8"):
        worst_psnr(frames / 255, frames)


def test_openvino_tells_nobody_that_it_is_used():
    need("openvino")
    # It reports an import by the package openvino_telemetry alone.
    code = (
        "import sys\n"
        "from anon_jax.export.runtimes import import_openvino; import_openvino().Core()\n"
        "sys.exit(any(n.startswith('openvino_telemetry.') for n in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
