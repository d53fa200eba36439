"""The look at a dataset: counts that are right, and a picture."""

import cv2
import pytest
from video_samples import halves, write_video

from input_pipeline.build import build_dataset
from input_pipeline.index import INDEX_FILE, read_index
from input_pipeline.show import main
from input_pipeline.specs import UNKNOWN, load_spec


@pytest.fixture
def data(tmp_path):
    """Four training and two validation videos; "tall" is unknown for one, "old" for all but one."""
    source = tmp_path / "source"
    rows = ["file,action,split,group,tall,old"]
    for i, tall in enumerate(["1", "0", "", "1", "0", "0"]):
        write_video(source / f"{i}$.avi", [halves((40 * i, 9, 9), (9, 9, 9), 20, 30)] * (i + 1),
                    codec="mjpeg", pix_fmt="yuvj420p")  # fmt: skip
        split = "train" if i < 4 else "validation"
        rows.append(
            f"{i}$.avi,{'run' if i % 2 else 'wave'},{split},g{i // 2},{tall},{'1' * (i == 5)}"
        )
    (source / "labels.csv").write_text("\n".join(rows))
    options = {"name": "clips", "attributes": ("tall", "old"), "group": "group"}
    build_dataset("video_folder", tmp_path / "data", source=source, **options)
    return tmp_path / "data"


def test_the_index_says_what_the_records_say(data):
    spec = load_spec("video_folder/clips", data)
    rows = [row for split in spec.split_sizes for row in read_index(spec, split)]
    assert {(row.id, row.split, row.action, row.group, row.num_frames) for row in rows} == {
        (f"{i}$.avi", "train" if i < 4 else "validation", "run" if i % 2 else "wave", f"g{i // 2}",
         i + 1) for i in range(6)
    }  # fmt: skip
    assert {row.id: row.attributes for row in rows}["2$.avi"] == (UNKNOWN, UNKNOWN)
    (spec.path / INDEX_FILE).unlink()
    assert sorted(
        str(row) for split in spec.split_sizes for row in read_index(spec, split)
    ) == sorted(map(str, rows))


def test_show_counts_and_draws(data, tmp_path, capsys):
    output = tmp_path / "look.png"
    arguments = [f"--data_dir={data}", f"--output={output}"]
    assert main(["video_folder/clips", *arguments, "--count=3", "--num_frames=2"]) == 0
    text = capsys.readouterr().out
    assert "train: 4 records, 2 groups, frames 1 to 4, median 3" in text
    assert "validation: 2 records, 1 groups, frames 5 to 6, median 6" in text
    rows = {line.split("  ")[0]: line.split()[1:] for line in text.splitlines() if line}
    assert rows["wave"] == ["2", "1"]
    assert rows["tall"] == ["2", "/", "3", "(66.7%)", "0", "/", "2", "(0.0%)"]
    assert rows["old"] == ["0", "/", "0", "1", "/", "1", "(100.0%)"]
    assert cv2.imread(str(output)).std() > 10  # something is drawn


def test_show_of_images(tiny_data_dir, tmp_path, capsys):
    output = tmp_path / "look.pdf"
    arguments = [f"--data_dir={tiny_data_dir}", f"--output={output}", "--split=test"]
    assert main(["moving_figures/tiny_images", *arguments, "--count=2"]) == 0
    assert "test: 24 records, 12 groups" in capsys.readouterr().out
    assert output.read_bytes().startswith(b"%PDF")


def test_what_show_refuses(data, tmp_path, capsys):
    for arguments, message in (
        (["video_folder/x", "--output=x.png"], "of 'video_folder' there is: clips. Build it with"),
        (["video_folder/clips", "--output=x.png", "--split=test"], "has no split 'test'"),
        (["video_folder/clips", "--output=x.txt"], "Format 'txt' is not supported"),
        (["video_folder/clips", "--output=/nowhere/x.png"], "No such file or directory"),
    ):
        assert main([*arguments, f"--data_dir={data}"]) == 2
        assert message in capsys.readouterr().err
