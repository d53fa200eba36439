"""A local page to try the anonymizer on a video: python -m anon_jax.app.

`page` lays it out with Gradio, `guard` keeps other hosts away from it, `desk` says what happens on
it, `films` reads and writes videos, `work` runs one job at a time, `storage` keeps the files and
deletes them.
"""

HOST = "127.0.0.1"  # never another: the page shows raw videos
