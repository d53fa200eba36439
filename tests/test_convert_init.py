"""config.init_from: each phase begins with the weights of the folder that it names."""

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import test_main
from comparison_samples import compare, make_run, scores
from small_networks import SMALL

from anon_jax import main
from anon_jax.convert import convert
from anon_jax.errors import ConfigError

torch = pytest.importorskip("torch")
import foreign_networks as foreign  # noqa: E402  (it imports torch, which may be missing)

one_stage_networks = test_main.one_stage_networks  # a fixture of this file too
PHASES = ("reconstruct", "pretrain_privacy", "minimax", "evaluate_action")


def config(data_dir, **fields):
    """A run of no steps: each phase stores the networks that it would begin with."""
    small = test_main.tiny_config(data_dir, evaluate_raw=False, phases=PHASES, **fields)
    for phase in PHASES:
        small[phase].epochs = 0.0
    small.minimax.warmup_epochs = 0.0
    return small


def stored(folder, name):
    with ocp.CheckpointManager(folder) as manager:
        args = ocp.args.Composite(state=ocp.args.StandardRestore())
        return manager.restore(manager.latest_step(), args=args)["state"]["nets"][name]


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def assert_begins_with(net, source, *, head):
    """Bit for bit `source`, up to the head; the head as `head` says."""
    for name, part in source["params"].items():
        if name != "head":
            assert same(net["params"][name], part), name
    assert same(net["batch_stats"], source["batch_stats"])
    if head is not None:
        assert same(net["params"]["head"], head["params"]["head"])


@pytest.fixture(scope="module")
def other_run(tiny_data_dir, tmp_path_factory):
    """The checkpoints of a run with another seed."""
    workdir = tmp_path_factory.mktemp("runs") / "other"
    main.execute(config(tiny_data_dir, seed=1), workdir)
    return workdir / "checkpoints"


@pytest.fixture(scope="module")
def new_run(tiny_data_dir, tmp_path_factory):
    """The checkpoints of a run that starts from nothing."""
    workdir = tmp_path_factory.mktemp("runs") / "new"
    main.execute(config(tiny_data_dir), workdir)
    return workdir / "checkpoints"


@pytest.fixture
def foreign_file(tmp_path):
    """A ResNet of the patched resnet_tiny's size, with seven classes."""
    width, stages = SMALL["width"], SMALL["stage_sizes"]
    net = foreign.randomize(foreign.ResNet(stages, False, 7, width=width, stem=3))
    torch.save(net.state_dict(), tmp_path / "net.pth")
    return tmp_path / "net.pth"


def test_every_phase_begins_with_its_folder(
    other_run, new_run, foreign_file, tiny_data_dir, tmp_path, capfd
):
    convert(foreign_file, "privacy", tmp_path / "converted")
    fields = config(tiny_data_dir)
    fields.init_from.anonymizer = str(other_run / "reconstruct")
    fields.init_from.action = str(other_run / "minimax")
    fields.init_from.privacy = str(tmp_path / "converted")
    main.execute(fields, tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"

    f_a = stored(other_run / "reconstruct", "anonymizer")
    assert not same(f_a, stored(new_run / "reconstruct", "anonymizer"))
    for phase in ("reconstruct", "minimax"):
        assert_begins_with(stored(checkpoints / phase, "anonymizer"), f_a, head=None)

    # The same actions: the head goes along.
    f_t = stored(other_run / "minimax", "action")
    for phase in ("minimax", "evaluate_action/penalty"):
        assert not same(f_t, stored(new_run / phase, "action"))
        assert_begins_with(stored(checkpoints / phase, "action"), f_t, head=f_t)

    # Seven classes there, a projection here: the head is the one that a new network has.
    f_b = stored(tmp_path / "converted", "privacy")
    new = stored(new_run / "pretrain_privacy", "privacy")
    for phase in ("pretrain_privacy", "minimax"):
        assert_begins_with(stored(checkpoints / phase, "privacy"), f_b, head=new)

    said = capfd.readouterr().err
    assert "config.init_from.privacy were trained on inputs normalised as usual for ImageNet" in (
        said
    )
    assert "config.networks.privacy_mean=(0.485, 0.456, 0.406)" in said
    assert "init_from.action" not in said


def test_no_note_where_the_normalisation_is_the_networks(
    foreign_file, tiny_data_dir, tmp_path, capfd
):
    convert(foreign_file, "privacy", tmp_path / "converted")
    fields = config(tiny_data_dir)
    fields.phases = ("pretrain_privacy",)
    fields.init_from.privacy = str(tmp_path / "converted")
    fields.networks.privacy_mean = (0.485, 0.456, 0.406)
    fields.networks.privacy_std = (0.229, 0.224, 0.225)
    main.execute(fields, tmp_path / "run")
    assert "normalised" not in capfd.readouterr().err
    # Older folders have no manifest that would have told.
    for manifest in (tmp_path / "converted").rglob("manifest.json"):
        manifest.unlink()
    (tmp_path / "converted" / "source.json").write_text('{"normalisation": 3}')
    with pytest.raises(ConfigError, match=r"init_from\.privacy: .*source\.json is damaged"):
        main.execute(fields, tmp_path / "other")


def test_the_head_is_new_where_the_actions_are_others(other_run, new_run, tiny_data_dir, tmp_path):
    net = stored(other_run / "minimax", "action")
    net["params"]["head"]["linear"] = {"kernel": np.zeros((16, 3)), "bias": np.zeros(3)}
    with ocp.CheckpointManager(tmp_path / "three") as manager:
        tree = {"nets": {"action": net}}
        manager.save(0, args=ocp.args.Composite(state=ocp.args.StandardSave(tree)))
    fields = config(tiny_data_dir)
    fields.phases = ("reconstruct", "pretrain_privacy", "minimax")
    fields.init_from.action = str(tmp_path / "three")
    main.execute(fields, tmp_path / "run")
    found = stored(tmp_path / "run" / "checkpoints" / "minimax", "action")
    assert_begins_with(found, net, head=stored(new_run / "minimax", "action"))


@pytest.mark.parametrize(
    ("field", "phase", "message"),
    [
        ("anonymizer", "nowhere", "config.init_from.anonymizer is .*nowhere, which holds no check"),
        ("anonymizer", "pretrain_privacy", "has no network 'anonymizer' but privacy; name a fold"),
        ("action", "reconstruct", "such as RUN/checkpoints/minimax, or one that python -m anon_j"),
        ("action", "evaluate_action", "no checkpoint; name one of those in it that does: penalty$"),
        ("privacy", "evaluate_action/penalty", "has no network 'privacy' but action, anonymizer"),
    ],
)
def test_a_folder_without_the_network_is_refused_before_anything_is_trained(
    other_run, tiny_data_dir, tmp_path, field, phase, message
):
    fields = config(tiny_data_dir)
    fields.init_from[field] = str(other_run / phase)
    with pytest.raises(ConfigError, match=message):
        main.execute(fields, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        ("anonymizer", {"anonymizer": "unetpp"}, r"networks\.anonymizer, 'unetpp': params/"),
        ("action", {"motion_input": False}, r"'i3d_tiny': params/stem_conv/kernel is of shape"),
        ("privacy", {"privacy": "resnet18"}, r"networks\.privacy, 'resnet18': params/"),
    ],
)
def test_another_architecture_is_refused_before_anything_is_trained(
    other_run, tiny_data_dir, tmp_path, field, change, message
):
    fields = config(tiny_data_dir)
    fields.networks.update(change)
    fields.init_from[field] = str(other_run / "minimax")
    with pytest.raises(ConfigError, match=message):
        main.execute(fields, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("method", "field", "protocols", "rows"),
    [
        ("raw", "action", 2, 1),  # other attackers
        ("raw", "privacy", 1, 1),  # which only f_B starts from
        ("penalty", "anonymizer", 1, 2),
        ("penalty", "privacy", 1, 2),
        ("vita", "anonymizer", 1, 2),
        ("vita", "privacy", 1, 1),  # its f_B learns from labels
    ],
)
def test_reports_set_apart_what_the_weights_make_a_difference_to(
    tmp_path, method, field, protocols, rows
):
    folders = [
        make_run(
            tmp_path / f"run{seed}", method, seed, scores(0.7, 0.6), changes=[("init_from", value)]
        )
        for seed, value in enumerate([{field: ""}, {field: "weights/some"}])
    ]
    report = compare(folders, tmp_path / "out")[2]
    assert len(report["protocols"]) == protocols
    assert len(report["protocols"][0]["rows"]) == rows


@pytest.mark.parametrize(
    ("method", "field"),
    [("raw", "anonymizer"), ("raw", "privacy"), ("vita", "privacy")],
)
def test_a_folder_that_no_phase_reads_is_not_looked_at(tiny_data_dir, tmp_path, method, field):
    fields = config(tiny_data_dir, method=method)
    fields.phases = ("pretrain_privacy",)
    fields.init_from[field] = str(tmp_path / "nowhere")
    main.execute(fields, tmp_path / "run")
    assert (tmp_path / "run" / "config.json").exists()
