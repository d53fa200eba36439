"""What a command of the documentation needs to run in a test: tables, read by doc_runs.py."""

_NO_CLUSTER = "needs a cluster or a cloud account"
_INSTALLS = "would change the environment that runs the tests; the workflows' jobs do it"
# Beginnings of commands -> why they are not run.
NOT_RUN = {
    "pip install": _INSTALLS,
    "python -m uv pip install": _INSTALLS,
    "pytest -n auto": "is this suite, the workflows' job 'tests'",
    "srun": _NO_CLUSTER,
    "gcloud": _NO_CLUSTER,
}

# Parts of commands -> the module that they cannot do without.
NEEDS = {
    "-m anon_jax.app": "gradio",
    "-m anon_jax.convert": "torch",
    "-m anon_jax.export": "openvino",
    "-m benchmarks.accelerator": "torch",
    "-m benchmarks.inference": "torch",
    "-m benchmarks.run": "torch",
    "--beam": "apache_beam",
}

# Page -> {what it leaves open or has of another machine: what stands for it here}. PORT is a free
# one. A --workdir=DIR is a folder of its own for each block.
FILLED = {
    "README.md": {"--source=DIR": "--source=labelled"},
    "docs/app.md": {"--port=7860": "--port=PORT"},
    "docs/datasets.md": {
        "NAME": "vpucf/split1",
        "FILE": "vpucf",
        "=DIR": "=ucf",
    },
    "docs/distributed.md": {
        "=/shared": "=shared",
        "node0:8476": "127.0.0.1:PORT",
        "127.0.0.1:8476": "127.0.0.1:PORT",
    },
    "docs/performance.md": {"=DIR": "=tables", "=FILE": "=accelerator.json"},
    "docs/reliability.md": {
        "/tmp/": "",
        "../shared/data/samples": "folder",
        "tests/": "CHECKOUT/tests/",
    },
    "docs/results.md": {
        "=DIR": "=real",
        "--config.FIELD=VALUE": "--config.log_every=5",
    },
    "input_pipeline/datasets/hmdb51/README.md": {"testTrainMulti_7030_splits": "splits"},
    "input_pipeline/datasets/pa_hmdb51/README.md": {"=DIR": "=splits"},
    "input_pipeline/datasets/vphmdb/README.md": {"=DIR": "=splits"},
    "input_pipeline/datasets/vpucf/README.md": {"=DIR": "=ucfTrainTestlist"},
}

_BATCHES = ("reconstruct", "pretrain_privacy", "evaluate_action", "evaluate_privacy")
_ATTACKS = ("evaluate_action", "evaluate_privacy", "evaluate_reconstruction", "evaluate_identity")
_LEARNING = (*_BATCHES, "evaluate_reconstruction", "evaluate_identity")
_FIELDS = (
    "devices=1",
    "networks.anonymizer=unetpp_tiny",
    "networks.action=i3d_tiny",
    "networks.privacy=resnet_tiny",
    "data.num_frames=4",
    "data.frame_stride=1",
    "data.resolution=32",
    "data.test_clips=1",
    "data.test_crops=1",
    "minimax.epochs=1",
    "minimax.warmup_epochs=0.5",
    "minimax.batch_clips=4",
    "minimax.batch_images=4",
    *(f"{phase}.epochs=1" for phase in _LEARNING),
    *(f"{phase}.batch_size=4" for phase in _LEARNING),
    *(f"{phase}.optimizer.warmup_epochs=0" for phase in _LEARNING),
    *(f"{phase}.validate_every=1" for phase in _ATTACKS),
    "evaluate_reconstruction.inversion_steps=1",
    "evaluate_frames.videos=2",
)
_TINY_RUN = tuple(f"--config.{field}" for field in _FIELDS)
_FEW_FILES = ("--allow_missing", "--clip_frames=1")

# Parts of commands -> flags that follow theirs, so that they are small. Later flags win.
SMALL = {
    "-m anon_jax.main --config": _TINY_RUN,
    "-m anon_jax.sweep": (*_TINY_RUN, "--seeds=0"),
    "-m input_pipeline.build ucf101": _FEW_FILES,
    "-m input_pipeline.build hmdb51": _FEW_FILES,
    "-m input_pipeline.build vispr": _FEW_FILES,
    "-m input_pipeline.build pa_hmdb51": _FEW_FILES,
    "-m input_pipeline.build vphmdb": _FEW_FILES,
    "-m input_pipeline.build vpucf": _FEW_FILES,
    "-m benchmarks.run": ("--devices=1",),
    "-m benchmarks.inference": ("--network=unetpp_tiny", "--side=32", "--rounds=1"),
    "-m benchmarks.chaos": ("--kills=1",),
    "-m benchmarks.fuzz_videos": ("--runs=4",),
    "-m benchmarks.long_run": ("--minutes=1", "--every=1"),
    "-m pytest": ("-k", "any_frame or any_split or table"),
}

# Parts of commands -> another exit status than 0 with which they may end here.
MAY_END_WITH = {
    "-m benchmarks.long_run": 1,  # says that memory is not flat yet, which takes longer than this
}

_MINE = ("--config.data.data_dir=data", "--config.data.videos=video_folder/mine")
_ALL_FIGURES = tuple(
    f"--config.{phase}.epochs=0.01" for phase in (*_LEARNING, "minimax")
)  # of 2,400 clips
# Page -> {parts of its commands: flags that stand for what the page has before, or for its "..."}.
FOR_PAGE = {
    "docs/datasets.md": {
        "--beam": (
            *("--source=ucf", "--annotations=ucf", "--data_dir=beamed"),
            "--beam_options=--direct_num_workers=2",  # threads here, instead of Flink
        ),
    },
    "docs/distributed.md": {"--processes": ("--config.devices=2",)},
    "docs/method.md": {"--workdir=runs/blacken": _MINE},
    "docs/results.md": {"--config.obfuscation.detector=file": _ALL_FIGURES},
    "docs/weights.md": {
        "--config.init_from": (
            "--config.networks.action=i3d_resnet50",
            "--config.data.num_frames=8",  # the full-size network halves them three times
        )
    },
}
