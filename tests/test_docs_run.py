"""Every command of the documentation is run, page by page: ANON_JAX_RUN_DOCS=1 pytest FILE.

With the words of the page, in the order of the page, in a folder of its own for each, on small
stand-ins for what the reader has (doc_inputs.py), with flags behind that make them small
(doc_tables.py). Without the variable, which the workflow of each week sets, only the tables are
looked through. Sweeps and the benchmarks of distribution start processes of their own: two pages
at a time (-n 2) are enough for two cores.
"""

import itertools
import os
import shutil
from pathlib import Path

import pytest
from doc_commands import ROOT, commands
from doc_inputs import INPUTS, titled_files
from doc_runs import Runner, page_of, reason_not_run, words_of
from doc_tables import FILLED, FOR_PAGE, MAY_END_WITH, NEEDS, NOT_RUN, SMALL

PAGES = {page: list(group) for page, group in itertools.groupby(commands(), key=page_of)}
RUN = {
    page: found
    for page, all_of_it in PAGES.items()
    if (found := [command for command in all_of_it if reason_not_run(command) is None])
}


@pytest.mark.skipif(os.environ.get("ANON_JAX_RUN_DOCS") != "1", reason="ANON_JAX_RUN_DOCS is not 1")
@pytest.mark.parametrize("page", RUN)
def test_the_commands_of_a_page_run(page, tmp_path):
    # conftest.py makes the folder of compiled programs, which all pages share, and removes it.
    runner = Runner(tmp_path, Path(os.environ["JAX_COMPILATION_CACHE_DIR"]))
    titled_files(runner, ROOT / page)
    for make in INPUTS.get(page, ()):
        make(runner)
    left_out = runner.page(RUN[page])
    shutil.rmtree(tmp_path)  # pytest keeps the folders of three sessions
    if left_out:
        pytest.skip(f"all ran but: {'; '.join(left_out)}")


def texts(page=None):
    return [" ".join(c.words) for p, found in RUN.items() if page in (None, p) for c in found]


def test_the_tables_have_nothing_that_no_command_needs():
    whole = [" ".join(command.words) for found in PAGES.values() for command in found]
    assert [s for s in NOT_RUN if not any(text.startswith(s) for text in whole)] == []
    for table in (SMALL, NEEDS, MAY_END_WITH):
        assert [part for part in table if not any(part in text for text in texts())] == []
    for table in (FILLED, FOR_PAGE):
        for page, parts in table.items():
            assert [p for p in parts if not any(p in text for text in texts(page))] == []
    assert set(INPUTS) <= set(RUN)


def test_nothing_is_left_open_in_what_is_run():
    for found in RUN.values():
        for command in found:
            words = words_of(command, port="1")
            assert not [w for w in words if w in ("NAME", "DIR", "FILE") or w.endswith("=DIR")]
