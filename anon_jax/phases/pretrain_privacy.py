"""Phase "pretrain_privacy": f_B learns from two views of each raw image (NT-Xent)."""

from anon_jax.phases import modules, pretrained, setup, streams
from anon_jax.sharding import compile_step
from anon_jax.state import Network, new_state
from anon_jax.steps import make_contrastive_step

NAME = "pretrain_privacy"


def run(run: setup.Run) -> None:
    """Trains f_B with L_B on raw images (arXiv 2504.14301, Sec. 4), or clips; leaves a checkpoint.

    It starts from `config.init_from.privacy` where that is given.

    A method that learns no anonymizer has nothing to do here, nor one whose f_B learns from labels,
    nor a run with `config.pretrained`.
    """
    if not setup.pretrains(run) or run.method.supervised:
        return
    phase = run.config.pretrain_privacy
    source = streams.contrast_source(run)
    num_steps, per_epoch = setup.length(phase, source)
    tx = setup.optimizer(phase.optimizer, num_steps, per_epoch)
    network = Network(modules.privacy(run.config), tx)
    step = make_contrastive_step(
        {"privacy": network},
        temperature=phase.temperature,
        seed=run.seed(NAME),
        accumulate=phase.accumulate,
    )
    compiled = compile_step(step, run.mesh, remat=run.config.remat)
    fresh = setup.fresh_net(run, NAME, "privacy", network, clips=streams.contrasts_clips(run))
    net = pretrained.begin(run.config, "privacy", network, fresh, run.mesh)
    setup.fit_phase(
        run,
        NAME,
        new_state({"privacy": net}),
        lambda _: compiled,
        streams.contrast_stream(run, source, phase.batch_size, name=NAME),
        num_steps=num_steps,
        sources={"image": source},
    )
