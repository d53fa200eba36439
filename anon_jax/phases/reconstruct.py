"""Phase "reconstruct": f_A learns to reproduce its input, on frames of videos and still images."""

from anon_jax.phases import modules, pretrained, setup, streams
from anon_jax.sharding import compile_step
from anon_jax.state import Network, new_state
from anon_jax.steps import make_reconstruction_step
from input_pipeline.records import PooledSource, RecordSource

NAME = "reconstruct"


def run(run: setup.Run) -> None:
    """Trains f_A with L_rec (arXiv 2504.14301, Sec. 3) and leaves its checkpoint.

    It starts from `config.init_from.anonymizer` where that is given.

    A method that learns no anonymizer has nothing to do here, nor a run with `config.pretrained`.
    """
    if not setup.pretrains(run):
        return
    phase = run.config.reconstruct
    specs = {spec.name: spec for spec in (run.datasets.videos, run.datasets.images)}
    source = PooledSource([RecordSource(spec, "train") for spec in specs.values()])
    num_steps, per_epoch = setup.length(phase, source)
    tx = setup.optimizer(phase.optimizer, num_steps, per_epoch)
    network = Network(modules.anonymizer(run.config), tx)
    step = make_reconstruction_step(
        {"anonymizer": network}, seed=run.seed(NAME), accumulate=phase.accumulate
    )
    compiled = compile_step(step, run.mesh, remat=run.config.remat)
    fresh = setup.fresh_net(run, NAME, "anonymizer", network)
    net = pretrained.begin(run.config, "anonymizer", network, fresh, run.mesh)
    setup.fit_phase(
        run,
        NAME,
        new_state({"anonymizer": net}),
        lambda _: compiled,
        streams.image_stream(run, source, phase.batch_size, name=NAME, views=1),
        num_steps=num_steps,
        sources={"image": source},
    )
