"""The TFDS builder for any folder of videos with a table of labels."""
