"""Readers of the annotation files of public datasets, in the formats their authors publish."""
