"""The networks of a run as Flax modules, from its config."""

import functools
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from anon_jax.models import build_model
from anon_jax.models.ensemble import Ensemble


def anonymizer(config: ConfigDict) -> nn.Module:
    """f_A as the config describes it."""
    networks = config.networks
    return build_model(
        networks.anonymizer,
        output_activation=networks.output_activation,
        remat=config.get("remat", "none"),  # configs of trained networks may be older than it
        dtype=jnp.dtype(config.dtype),
    )


def action(config: ConfigDict, num_actions: int, *, freeze_batch_norm: bool = False) -> nn.Module:
    """f_T as the config describes it, for `num_actions` classes."""
    name = config.networks.action
    return _clip_module(config, name, num_classes=num_actions, freeze_batch_norm=freeze_batch_norm)


def privacy(config: ConfigDict) -> nn.Module:
    """The f_B of the game, with its projection head: it sees images or, an I3D, whole clips."""
    network = game_privacy(config)
    make = _clip_module if sees_clips(network) else _image_module
    return make(config, network, head="projection")


def game_privacy(config: ConfigDict) -> str:
    """Name of the f_B that f_A is trained against."""
    return config.networks.game_privacy or config.networks.privacy


def supervised_privacy(config: ConfigDict, num_attributes: int) -> Ensemble:
    """f_B as an ensemble of classifiers of attributes."""
    return Ensemble(
        functools.partial(attributes, config, config.networks.privacy, num_attributes),
        config.minimax.supervised.ensemble,
    )


def attributes(config: ConfigDict, network: str, num_attributes: int) -> nn.Module:
    """A classifier of attributes: a row of MODELS that sees images or, an I3D, whole clips."""
    if sees_clips(network):
        return _clip_module(config, network, num_classes=num_attributes)
    return _image_module(config, network, head="linear", num_classes=num_attributes)


def sees_clips(network: str) -> bool:
    """Whether a network of MODELS takes clips instead of images."""
    return network.startswith("i3d")


def _image_module(config: ConfigDict, network: str, **head: Any) -> nn.Module:
    networks = config.networks
    return build_model(
        network,
        **head,
        input_mean=networks.privacy_mean or None,
        input_std=networks.privacy_std or None,
        remat=config.remat,
        dtype=jnp.dtype(config.dtype),
    )


def _clip_module(config: ConfigDict, network: str, **attributes: Any) -> nn.Module:
    networks = config.networks
    return build_model(
        network,
        **attributes,
        motion_input=networks.motion_input,
        dropout_rate=networks.dropout,
        input_mean=networks.action_mean or None,
        input_std=networks.action_std or None,
        remat=config.remat,
        dtype=jnp.dtype(config.dtype),
    )
