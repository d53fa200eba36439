"""From a weight file to a checkpoint folder, in one call."""

import collections
from pathlib import Path
from typing import Any

from anon_jax.convert.errors import ConvertError
from anon_jax.convert.files import PUBLISHED, Source, read_source
from anon_jax.convert.folder import check_output, write_folder
from anon_jax.convert.layouts import Layout
from anon_jax.convert.matching import fill, recognise
from anon_jax.manifest import sha256

NETWORKS = tuple(PUBLISHED)  # "anonymizer" (f_A), "action" (f_T), "privacy" (f_B)


def convert(
    file: Path,
    network: str,
    output: Path,
    *,
    prefix: str = "",
    arch: str = "",
    overwrite: bool = False,
    output_activation: str = "identity",
    resolution: int = 224,
) -> dict[str, Any]:
    """Converts the weights of a PyTorch network; returns what source.json says of them.

    Args:
      file: .pth, .pt, .ckpt or .safetensors, of one of `layouts.LAYOUTS`.
      network: which of NETWORKS it becomes.
      output: the folder; whole or not there.
      prefix: what the keys begin with in the file; other keys are ignored.
      arch: row of anon_jax.models.MODELS; "" = by the blocks that the file has.
      overwrite: replaces a folder that was converted before.
      output_activation: of an anonymizer, which no weight file tells: "identity" (the published
        code) or "sigmoid".
      resolution: pixels of the short side that an anonymizer was trained on.

    Raises:
      ConvertError: with a message for the user.
      OSError: the folder could not be written.
    """
    if network not in NETWORKS:
        raise ConvertError(f"unknown network {network!r}; known: {', '.join(NETWORKS)}")
    if resolution < 1:
        raise ConvertError(f"the resolution is {resolution}; it has to be > 0")
    check_output(output, overwrite=overwrite)
    source = read_source(file, network, prefix)
    try:
        match = recognise(source.tensors, network)
        filled = fill(match, source.tensors, arch)
    except ConvertError as error:
        raise ConvertError(f"{file}: {error}") from None
    found = {
        "file": file.name,
        "sha256": sha256(file),
        "part": source.part,
        "prefix": prefix,
        "layout": match.layout.name,
        "network": network,
        "model": filled.model,
        "attributes": filled.attributes,
        "tensors": len(match.keys),
        "ignored": {**source.ignored, **match.ignored},
        "normalisation": _normalisation(source, match.layout),
    }
    config = None
    if network == "anonymizer":
        config = _config(filled.model, output_activation, resolution)
    write_folder(output, network, filled.trees, found, config)
    return found


def _config(model: str, output_activation: str, resolution: int) -> dict[str, Any]:
    """What `load_anonymizer` has to know of a network that no run of ours has trained."""
    return {
        "networks": {"anonymizer": model, "output_activation": output_activation},
        "data": {"resolution": resolution},
        "dtype": "float32",
    }


def summary(found: dict[str, Any], output: Path) -> str:
    """What was converted and which fields of a config use it, for whoever started the command."""
    network, model = found["network"], found["model"]
    head = ", ".join(f"{key} {value}" for key, value in found["attributes"].items())
    lines = [
        f"{output}: {model}"
        + (f" with {head}" if head else "")
        + f", {found['tensors']} tensors of {found['file']} (layout {found['layout']})"
    ]
    reasons = collections.Counter(found["ignored"].values())
    lines += [f"ignored: {count} x {reason}" for reason, count in reasons.items()]
    if network != "anonymizer" and not head:
        lines.append("The file has no head: a new one is made wherever the network is used.")
    lines.append(f"Use: --config.init_from.{network}={output} --config.networks.{network}={model}")
    normalisation = found["normalisation"]
    if normalisation:
        mean, std = tuple(normalisation["mean"]), tuple(normalisation["std"])
        lines.append(
            f'  --config.networks.{network}_mean="{mean}" --config.networks.{network}_std="{std}"'
            f"  (as usual for {normalisation['trained_on']})"
        )
    if network == "anonymizer":
        lines.append(
            "The file does not say what stands after its last convolution: --output-activation "
            "here and --config.networks.output_activation have to be what it was trained with"
            + (", identity in the published code." if found["part"] in PUBLISHED.values() else ".")
        )
        lines.append(
            "To anonymize with it as it is: "
            f"python -m anon_jax.anonymize INPUT --output=PATH --checkpoint={output}"
        )
    return "\n".join(lines)


def _normalisation(source: Source, layout: Layout) -> dict[str, Any] | None:
    """What the inputs were normalised by; None = by nothing: the published code takes [0, 1]."""
    if source.published or not layout.trained_on:
        return None
    return {"trained_on": layout.trained_on, "mean": list(layout.mean), "std": list(layout.std)}
