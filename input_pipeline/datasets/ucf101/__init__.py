"""The TFDS builder for UCF101."""
