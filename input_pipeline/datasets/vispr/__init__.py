"""The TFDS builder for VISPR."""
