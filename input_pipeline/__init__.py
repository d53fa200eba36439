"""Videos and images in TFDS format, and Grain pipelines over them. Never imports `anon_jax`."""
