"""TFDS builders, one folder each; all of them write the features of `input_pipeline.specs`."""
