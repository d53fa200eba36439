"""A trained anonymizer for other engines: python -m anon_jax.export.

`graph` builds the ONNX graph, `quantization` makes it int8, `conversion` writes a folder and holds
it against JAX (`checking`); `folder` and `runtimes` read and run it, without JAX.
"""
