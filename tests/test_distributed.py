"""Several processes on the loopback: the run of one, its checkpoints, its end, its sentences."""

import json
import re
import shutil
import socket
import subprocess
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from distributed_program import ROOT, run_processes, shrink, train_toy

from anon_jax import distributed, joining, main
from anon_jax.checkpoint import Checkpointer
from anon_jax.errors import ConfigError, RunError
from anon_jax.interruption import EXIT_CODE
from anon_jax.joining import Membership
from anon_jax.models import MODELS
from anon_jax.sharding import check_batch_sizes, make_mesh
from anon_jax.writers import read_metrics
from input_pipeline.loader import evaluation_batches, train_stream
from input_pipeline.records import RecordSource
from input_pipeline.specs import load_spec
from input_pipeline.transforms import Augmentation, EvaluationImage, TrainImage

# Sums over two devices, in another order: float32 over a few steps of Adam. Larger where Adam
# divides by the root of a moment that is near 0.
CLOSE = {"rtol": 1e-3, "atol": 1e-4}


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def assert_close(ours, theirs, **tolerance):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, **(tolerance or CLOSE))


def test_processes_stop_at_one_step_and_other_numbers_of_them_go_on(tmp_path, port):
    """Two, of which one gets a signal; then one, and four, of which one dies after step 10."""
    left = run_processes(2, port, "toy", tmp_path / "two", 12, "signal:4")
    sentences = {re.search(r"step \d+ of phase toy is saved", out)[0] for _, out, _ in left}
    assert [code for code, _, _ in left] == [EXIT_CODE] * 2
    assert len(sentences) == 1
    # The signal came in step 4, and its vote counts a few steps later.
    stopped = Checkpointer(tmp_path / "two" / "checkpoints").latest_step()
    assert sentences == {f"step {stopped} of phase toy is saved"}
    assert 4 <= stopped <= 7
    shutil.copytree(tmp_path / "two", tmp_path / "four")
    whole = train_toy(tmp_path / "whole", 10)
    assert_close(train_toy(tmp_path / "two", 10), whole)
    died = run_processes(4, port, "toy", tmp_path / "four", 14, "die:12")
    assert died[-1][0] == 9
    assert all(code not in (0, 9) for code, _, _ in died[:-1]), died
    # What the four had saved before, which is found whole.
    assert Checkpointer(tmp_path / "four" / "checkpoints").latest_step() == 10
    assert_close(train_toy(tmp_path / "four", 10), whole)
    lines = {
        name: read_metrics(tmp_path / name / "metrics" / "toy.jsonl") for name in ("two", "whole")
    }
    for ours, theirs in zip(lines["two"], lines["whole"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)


CONFIG = """
import test_main

def get_config():
    config = test_main.tiny_config("{data_dir}", evaluate_raw=False)
    config.phases = ("reconstruct", "pretrain_privacy", "minimax", "evaluate_action", "report")
    config.reconstruct.epochs = config.pretrain_privacy.epochs = 0.0
    config.minimax.epochs = 1.0
    config.minimax.warmup_epochs = 0.0
    config.evaluate_action.epochs = 1.0
    config.data.test_clips = 1
    return config
"""


def test_a_run_of_two_processes_equals_one_with_two_devices(tiny_data_dir, tmp_path, port):
    (tmp_path / "config.py").write_text(CONFIG.format(data_dir=tiny_data_dir))
    flags = [f"--config={tmp_path}/config.py", f"--workdir={tmp_path}/two"]
    ended = run_processes(2, port, "main", *flags)
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert "Report: " in ended[0][1]
    assert "Report: " not in ended[1][1]
    scope = {}
    exec((tmp_path / "config.py").read_text(), scope)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("unetpp_tiny", "i3d_tiny", "resnet_tiny"):
            patch.setitem(MODELS, name, MODELS[name])  # given back in the end
        shrink()
        main.execute(scope["get_config"](), tmp_path / "one")
    for phase in ("minimax", "evaluate_action/penalty"):
        one, two = (
            newest_state(tmp_path / name / "checkpoints" / phase) for name in ("one", "two")
        )
        for net, fields in one["nets"].items():
            for field, expected in fields.items():
                # Measured: 4e-3 at most, 1e-5 after three steps. Adam's steps are as large where a
                # gradient is rounding noise as anywhere else, so single values differ by more;
                # other batches would make moments that have nothing in common.
                difference = jax.tree.map(np.subtract, two["nets"][net][field], expected)
                assert norm(difference) <= 0.01 * norm(expected), (phase, net, field)
        ours, theirs = (
            read_metrics(tmp_path / name / f"metrics/{phase}.jsonl") for name in ("two", "one")
        )
        for line, expected in zip(ours, theirs, strict=True):
            assert line == pytest.approx(expected, rel=1e-3)
    one, two = (
        json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two")
    )
    assert paths(one) == paths(two)
    action = {
        name: found["methods"]["penalty"]["action"] for name, found in (("1", one), ("2", two))
    }
    assert action["1"]["num_videos"] == action["2"]["num_videos"] == 24
    assert action["2"]["top1"] == pytest.approx(action["1"]["top1"], abs=1 / 24)
    one, two = (files(tmp_path / name) for name in ("one", "two"))
    assert one == two


def norm(tree):
    """The root of the sum of the squares of all values."""
    return np.sqrt(sum(np.sum(np.square(leaf, dtype=float)) for leaf in jax.tree.leaves(tree)))


def newest_state(directory):
    """As NumPy arrays: on the devices it would need those that it was saved from."""
    path = directory / str(Checkpointer(directory).latest_step()) / "state"
    with ocp.PyTreeCheckpointer() as reader:
        tree = reader.metadata(path).item_metadata.tree
        arrays = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return reader.restore(path, args=ocp.args.PyTreeRestore(restore_args=arrays))


def paths(tree, prefix=""):
    """Names of all entries of nested dicts."""
    if not isinstance(tree, dict):
        return {prefix}
    return set().union(*(paths(value, f"{prefix}/{name}") for name, value in tree.items()))


def files(workdir):
    """What a run leaves, but for the inner files of Orbax and the times in TensorBoard's names."""
    names = {path.relative_to(workdir).as_posix() for path in workdir.rglob("*") if path.is_file()}
    return {re.sub(r"events.*", "events", name) for name in names if "/state/" not in name}


def test_each_process_draws_its_part_of_the_batches_of_one(tiny_data_dir):
    records = RecordSource(load_spec("moving_figures/tiny_videos", tiny_data_dir), "train")
    view = TrainImage(16, Augmentation((0.8, 1.0), flip=0.5))

    def draw(size, **share):
        options = {"seed": 1, "num_threads": 1, "prefetch": 1}
        batches = iter(train_stream(records, view, batch_size=size, **options, **share))
        return [next(batches) for _ in range(5)], batches.get_state()

    whole, position = draw(12)
    parts = [draw(3, process_index=i, process_count=4) for i in range(4)]
    for number, batch in enumerate(whole):
        for name, values in batch.items():
            joined = np.concatenate([part[number][name] for part, _ in parts])
            np.testing.assert_array_equal(joined, values)
    assert all(state == position for _, state in parts)


@pytest.mark.parametrize("views", [1, 2])
def test_each_process_evaluates_its_part_and_all_take_part_in_each_batch(tiny_data_dir, views):
    records = RecordSource(load_spec("moving_figures/tiny_videos", tiny_data_dir), "test")

    def draw(size, **share):
        options = {"views": views, "num_threads": 1, "prefetch": 1}
        transform = EvaluationImage(16, 1.0)
        return list(evaluation_batches(records, transform, batch_size=size, **options, **share))

    # 24 videos: of the last of the batches of 20, the third and fourth processes have nothing.
    whole = draw(20)
    parts = [draw(5, process_index=i, process_count=4) for i in range(4)]
    assert [len(part) for part in parts] == [len(whole)] * 4
    for number, batch in enumerate(whole):
        joined = np.concatenate([part[number]["index"] for part in parts])
        np.testing.assert_array_equal(joined, batch["index"])
        real = joined >= 0
        images = np.concatenate([part[number]["image"] for part in parts])
        np.testing.assert_array_equal(images[real], batch["image"][real])


def test_the_first_does_it_for_all_and_its_errors_reach_them(monkeypatch):
    """The other side of `first`, on a client that has the answers of process 0."""
    said = {}

    class Client:
        def key_value_set(self, key, value):
            said[key] = value

        def blocking_key_value_get(self, key, timeout):
            return said[key]

    def fails():
        raise OSError("the disk is full")

    monkeypatch.setattr(distributed, "_client", Client)
    for index in (0, 1):
        monkeypatch.setattr(distributed, "_group", distributed._Group(2, index))
        assert distributed.first(lambda index=index: {"made by": index}) == {"made by": 0}
        nested = distributed.first(lambda: distributed.first(lambda: "both"))
        assert nested == "both"
        with pytest.raises(OSError if index == 0 else RunError, match="the disk is full"):
            distributed.first(fails)
    assert distributed.share(12) == {"batch_size": 6, "process_index": 1, "process_count": 2}


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (Membership(process=1), r"also needs --coordinator=HOST:PORT, --processes=N; on SLURM"),
        (Membership("", "host", 2, 0), r"--coordinator is 'host'; it has to be the host of proc"),
        (Membership("", "host:1", 2, 2), r"--process is 2 and --processes is 2; .* from 0 to one"),
        (Membership("", "127.0.0.1:1", 2, 1, 1), r"127\.0\.0\.1:1 could not be reached within 1 s"),
        (Membership("auto"), r"--distributed=auto found no cluster that JAX knows"),
    ],
)
def test_a_wrong_membership_is_a_sentence(member, message, monkeypatch):
    def no_cluster(*_, **__):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", no_cluster)
    with pytest.raises((ConfigError, RunError), match=message):
        joining.join(member)


def test_a_process_that_does_not_come_is_a_sentence(port):
    member = f'Membership("", "127.0.0.1:{port}", 2, 0, 1)'
    code = f"from anon_jax.joining import *; join({member})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: not 2 processes of the run were there within 1 s")


def test_a_jax_that_keeps_its_coordination_service_elsewhere_is_a_sentence(monkeypatch):
    class State:
        num_processes, process_id = 2, 0  # and no client

    monkeypatch.setattr("jax._src.distributed.global_state", State())
    with pytest.raises(RunError, match=rf"jax {jax.__version__} keeps .* or start one process"):
        distributed.enter()
    monkeypatch.delattr("jax._src.distributed.global_state")
    with pytest.raises(RunError, match="several processes cannot make a run together"):
        distributed.enter()
    assert distributed.count() == 1


def test_what_the_processes_cannot_share_is_a_sentence(monkeypatch):
    mesh = make_mesh(6)
    with pytest.raises(ConfigError, match=r"config\.fsdp is 4; it has to divide .* which is 6"):
        make_mesh(6, fsdp=4)
    monkeypatch.setattr(distributed, "_group", distributed._Group(3, 0))
    with pytest.raises(ConfigError, match="3 processes with 8 devices cannot share 8 evenly"):
        make_mesh()
    with pytest.raises(ConfigError, match="batch_size is 8, which 6 devices of 3 processes cannot"):
        check_batch_sizes({"minimax.batch_size": 8}, mesh)
    with pytest.raises(ConfigError, match=r"config\.devices is 9; these processes see 8"):
        make_mesh(9)
