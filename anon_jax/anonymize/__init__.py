"""A video in, an anonymized video out, and nothing raw ever: python -m anon_jax.anonymize.

The way of a frame: `reading` (a thread) -> `methods` with an engine of `engines` -> `selfcheck` ->
`writing` (a thread), tied together by `pipeline`; `jobs` says what is read and written where,
`batch` runs them one after another.
"""
