"""The command on other engines: the video that JAX gives, the first engine there is, or a word."""

import json
import shutil
import sys
from hashlib import sha256

import jax
import numpy as np
import pytest
from anonymize_samples import Identity, exported, files_in, pictures, workdir, write_timed

import anon_jax
from anon_jax.anonymize import engines
from anon_jax.anonymize.__main__ import main
from anon_jax.export import conversion, runtimes
from anon_jax.export.checking import LEAST_PSNR, worst_psnr
from anon_jax.export.folder import FORMATS
from anon_jax.export.frames import drawn_frames
from anon_jax.manifest import write_manifest
from input_pipeline.errors import DataError
from input_pipeline.video import decode_frames


def need(engine):
    """Skips where the libraries of an engine are missing."""
    (name,) = (name for name, row in FORMATS.items() if row.engine == engine)
    try:
        runtimes.need_libraries(name)
    except ImportError as error:
        pytest.skip(str(error))


def make_export(folder, name, precision):
    anonymizer = anon_jax.load_anonymizer(exported())
    conversion.export(anonymizer, folder, name, precision, drawn_frames(8, 32))
    return folder


@pytest.mark.parametrize(
    ("engine", "precision"),
    [("openvino", None), ("openvino", "bf16"), ("onnxruntime", None), ("jax", "bf16")],
)
def test_an_engine_gives_the_same_video_as_jax(tmp_path, engine, precision):
    need(engine)
    source = write_timed(tmp_path / "in.mp4", pictures(21, 40, 56), range(0, 21 * 3600, 3600))
    output, summary = tmp_path / "out.mkv", tmp_path / "s.json"
    arguments = [f"--precision={precision}"] if precision else []
    arguments += [f"--checkpoint={workdir()}", f"--engine={engine}", f"--summary={summary}"]
    assert main([str(source), f"--output={output}", *arguments]) == 0
    anonymizer = anon_jax.load_anonymizer(workdir())
    raw, _ = decode_frames(source)
    found, _ = decode_frames(output)
    # In grey, for the encoder halves the colour planes: 4 levels are its loss on this noise.
    assert np.abs((found.astype(float) - anonymizer(raw)).mean(axis=-1)).mean() < 4
    (entry,) = json.loads(summary.read_text())["files"]
    assert (entry["engine"], entry["precision"]) == (engine, precision or "float32")
    assert (entry["sha256"], entry["frames"]) == (anonymizer.sha256, 21)


@pytest.mark.parametrize("name", FORMATS)
def test_an_exported_folder_runs_as_it_is(tmp_path, monkeypatch, name):
    engine = FORMATS[name].engine
    need(engine)
    folder = make_export(tmp_path / "out", name, "float32")
    monkeypatch.setattr(engines, "_first_of", None)  # no checkpoint is looked at
    for chosen in ("auto", engine):
        running = engines.make_engine(chosen, folder, "float32")
        assert (running.name, running.precision) == (engine, "float32")
    anonymizer = anon_jax.load_anonymizer(exported())
    assert running.sha256 == anonymizer.sha256
    frames = np.stack(pictures(2, 33, 65))
    assert worst_psnr(running(frames), anonymizer(frames)) >= LEAST_PSNR["float32"]
    other = "jax" if engine != "jax" else "openvino"
    with pytest.raises(DataError, match=f"is for the engine {engine}, not for {other}"):
        engines.make_engine(other, folder)
    with pytest.raises(DataError, match="is in float32, not in int8"):
        engines.make_engine("auto", folder, "int8")


def test_an_exported_folder_is_tried_on_this_machine_first(tmp_path, monkeypatch, capsys):
    folder = make_export(tmp_path / "out", "stablehlo", "float32")
    call = runtimes.StableHloModel.__call__
    monkeypatch.setattr(runtimes.StableHloModel, "__call__", lambda *given: [call(*given)[0] // 2])
    source = write_timed(tmp_path / "in.mp4", pictures(2), range(0, 7200, 3600))
    target = f"--output={tmp_path / 'o' / 'a.mp4'}"
    assert main([str(source), target, f"--checkpoint={folder}"]) == 2
    assert "on this machine the model is" in capsys.readouterr().err
    assert files_in(tmp_path / "o") == []


def test_an_engine_that_differs_from_jax_is_not_used(tmp_path, monkeypatch, capsys):
    need("openvino")
    need("onnxruntime")
    for model in (runtimes.OpenVinoModel, runtimes.OnnxRuntimeModel):
        call = model.__call__
        monkeypatch.setattr(model, "__call__", lambda *given, call=call: [call(*given)[0][:, ::-1]])
    assert engines.make_engine("auto", exported()).name == "jax"
    said = capsys.readouterr().err
    assert "the engine openvino is not used: the openvino model is" in said
    assert "the engine onnxruntime is not used" in said
    with pytest.raises(DataError, match="float32 has to reach 50 dB: use the engine jax"):
        engines.make_engine("openvino", exported())


def test_auto_takes_the_next_one_where_a_library_is_missing(monkeypatch, capsys):
    # None stands for a module that cannot be imported.
    for missing, chosen in (("openvino", "onnxruntime"), ("onnxruntime", "jax")):
        if chosen != "jax":
            need(chosen)
        monkeypatch.setitem(sys.modules, missing, None)
        assert engines.make_engine("auto", exported()).name == chosen
        with pytest.raises(DataError, match=rf'not installed: .*{missing}.*"anon_jax\[engines\]"'):
            engines.make_engine(missing, exported())
    assert capsys.readouterr().err == ""
    # Where an engine cannot have a precision, another one may.
    assert engines.make_engine("auto", exported(), "bf16").name == "jax"


def test_auto_takes_jax_where_it_has_an_accelerator(monkeypatch):
    monkeypatch.setattr(engines, "ENGINES", {"slow": Identity, "jax": Identity})
    assert engines._by_speed() == ["slow", "jax"]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert engines._by_speed() == ["jax", "slow"]


def test_precisions_that_are_not_there(tmp_path, capsys):
    source = write_timed(tmp_path / "in.mp4", pictures(2), range(0, 7200, 3600))
    target = f"--output={tmp_path / 'a.mp4'}"
    with pytest.raises(SystemExit):
        main([str(source), target, "--method=blur", "--precision=int4"])
    assert "int4" in capsys.readouterr().err
    with pytest.raises(DataError, match="known: float32, bf16, int8"):
        engines.make_engine("auto", exported(), "int4")
    for engine in ("auto", "jax", "openvino"):
        with pytest.raises(DataError, match=r"int8 has to be calibrated .* --frames=FILE"):
            engines.make_engine(engine, exported(), "int8")
    assert files_in(tmp_path) == ["in.mp4"]


def test_a_precision_that_an_engine_has_not():
    need("onnxruntime")
    with pytest.raises(DataError, match="There is no export as onnx in bf16; there is onnx: float"):
        engines.make_engine("onnxruntime", exported(), "bf16")


def test_a_damaged_export_is_a_sentence(tmp_path, capsys):
    folder = make_export(tmp_path / "out", "stablehlo", "float32")
    (folder / "model.stablehlo").write_bytes(b"nonsense")
    source = write_timed(tmp_path / "in.mp4", pictures(2), range(0, 7200, 3600))
    assert main([str(source), f"--output={tmp_path / 'a.mp4'}", f"--checkpoint={folder}"]) == 2
    assert "model.stablehlo is not the file" in capsys.readouterr().err
    # The same file under its own hash, for nobody but the library can tell.
    config = json.loads((folder / "config.json").read_text())
    config["export"]["files"]["model.stablehlo"] = sha256(b"nonsense").hexdigest()
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="the stablehlo model cannot be opened"):
        engines.make_engine("auto", folder)
    shutil.rmtree(folder)
    with pytest.raises(DataError, match="There is no folder"):
        engines.make_engine("auto", folder)


def test_a_checkpoint_trained_in_bf16_runs_in_bf16_by_jax_alone(tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(exported(), folder)
    stored = json.loads((folder / "config.json").read_text())
    stored["config"]["dtype"] = "bfloat16"
    (folder / "config.json").write_text(json.dumps(stored))
    write_manifest(folder)
    assert engines.make_engine("jax", folder).precision == "bf16"
    assert engines.make_engine("jax", folder, "float32").precision == "float32"


def test_an_engine_that_fails_in_the_middle_leaves_nothing(tmp_path, monkeypatch, capsys):
    need("onnxruntime")
    folder = make_export(tmp_path / "out", "onnx", "float32")
    call = runtimes.OnnxRuntimeModel.__call__

    def fail(self, frames):
        if frames.shape[1:3] == (48, 64):
            raise RuntimeError("bad allocation")
        return call(self, frames)

    monkeypatch.setattr(runtimes.OnnxRuntimeModel, "__call__", fail)
    source = write_timed(tmp_path / "in.mp4", pictures(3), range(0, 3 * 3600, 3600))
    target = f"--output={tmp_path / 'o' / 'a.mp4'}"
    assert main([str(source), target, f"--checkpoint={folder}"]) == 2
    said = capsys.readouterr().err
    assert "the engine onnxruntime: frames of 64x48 pixels cannot be run: bad allocation" in said
    assert files_in(tmp_path / "o") == []
