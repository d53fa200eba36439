"""Decoding: colours, sizes, rotation, odd formats, damage, and errors that say what is wrong."""

import struct
import wave
import zlib

import av
import cv2
import numpy as np
import pytest
from video_samples import data_folder, halves, write_video

from input_pipeline import video as video_module
from input_pipeline.encoding import encode_jpeg, encode_video
from input_pipeline.errors import DataError
from input_pipeline.video import VideoFrames, decode_frames, scaled_size

RED, GREEN, BLUE = (220, 30, 40), (30, 180, 60), (40, 50, 210)

# Solid colours through 8-bit YUV and back: rounding in both directions moves a channel by up to 3.
COLOUR_TOLERANCE = 4


def assert_colour(region: np.ndarray, colour: tuple[int, int, int]) -> None:
    error = np.abs(region.reshape(-1, 3).mean(0) - colour)  # [h, w, 3] -> [h*w, 3]
    assert error.max() <= COLOUR_TOLERANCE, (region.reshape(-1, 3).mean(0), colour)


def test_frames_come_in_order_and_in_rgb(tmp_path):
    colours = [RED, GREEN, BLUE, RED, BLUE]
    path = write_video(tmp_path / "a.mp4", [halves(c, c) for c in colours], fps=10)
    frames, info = decode_frames(path)
    assert frames.shape == (5, 48, 64, 3)
    assert frames.dtype == np.uint8
    for frame, colour in zip(frames, colours, strict=True):
        assert_colour(frame, colour)
    assert (info.fps, info.source_height, info.source_width) == (10.0, 48, 64)
    assert (info.num_frames, info.num_damaged) == (5, 0)


@pytest.mark.parametrize(("colorspace", "color_range"), [(1, 1), (1, 2), (5, 1), (5, 2)])
def test_colour_matrix_and_range_of_the_file_are_honoured(tmp_path, colorspace, color_range):
    # 1 and 5 are BT.709 and BT.601, ranges 1 and 2 are limited and full.
    path = write_video(
        tmp_path / "a.mp4",
        [halves(GREEN, RED)] * 2,
        colorspace=colorspace,
        color_range=color_range,
    )
    frame = decode_frames(path)[0][0]
    assert_colour(frame[:, 4:28], GREEN)
    assert_colour(frame[:, 36:60], RED)


def test_short_side_shrinks_and_never_enlarges(tmp_path):
    path = write_video(tmp_path / "a.mp4", [halves(RED, BLUE)] * 2)
    frames, info = decode_frames(path, short_side=12)
    assert frames.shape == (2, 12, 16, 3)
    assert (info.source_height, info.source_width) == (48, 64)
    assert_colour(frames[0][:, :7], RED)
    assert_colour(frames[0][:, 9:], BLUE)
    assert decode_frames(path, short_side=500)[0].shape == (2, 48, 64, 3)


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [
        ((240, 320), 112, (112, 149)),  # 320 * 112 / 240 = 149.33
        ((320, 240), 112, (149, 112)),
        ((100, 100), 240, (100, 100)),
        ((75, 101), 75, (75, 101)),
        ((2000, 3), 2, (1333, 2)),
        ((48, 64), None, (48, 64)),
    ],
)
def test_scaled_size(size, short_side, expected):
    assert scaled_size(*size, short_side) == expected


def test_rotation_flag_turns_the_picture(tmp_path):
    path = write_video(tmp_path / "a.mp4", [halves(RED, BLUE)] * 2)
    data = path.read_bytes()
    one, unit = 1 << 16, 1 << 30  # the display matrix is in 16.16, its last column in 2.30
    upright = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, unit)
    clockwise = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, unit)
    film, track = data.split(upright, 2)[:2]
    position = len(film) + len(upright) + len(track)  # the second matrix is the track's
    path.write_bytes(data[:position] + clockwise + data[position + len(upright) :])
    frames, info = decode_frames(path, short_side=24)
    assert frames.shape == (2, 32, 24, 3)
    assert (info.source_height, info.source_width) == (64, 48)
    assert_colour(frames[0][:14], RED)  # turned clockwise, the left half is on top
    assert_colour(frames[0][18:], BLUE)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "size"),
    [
        ("ten_bit.mkv", "ffv1", "yuv420p10le", (48, 64)),
        ("ten_bit.mp4", "libx264", "yuv420p10le", (48, 64)),
        ("odd_size.avi", "mjpeg", "yuvj444p", (75, 101)),
        ("tiny.mkv", "ffv1", "yuv444p", (3, 5)),
        ("rgb.mkv", "ffv1", "bgr0", (48, 64)),
    ],
)
def test_unusual_formats(tmp_path, name, codec, pix_fmt, size):
    frame = halves(GREEN, GREEN, *size)
    path = write_video(tmp_path / name, [frame], codec=codec, pix_fmt=pix_fmt)
    frames, info = decode_frames(path)
    assert frames.shape == (1, *size, 3)
    assert info.num_damaged == 0
    assert_colour(frames[0], GREEN)


def test_alpha_is_dropped_and_grey_becomes_rgb(tmp_path):
    rgba = np.dstack([halves(RED, BLUE), np.full((48, 64), 128, np.uint8)])
    path = write_video(tmp_path / "a.mov", [rgba], codec="qtrle", pix_fmt="argb")
    np.testing.assert_array_equal(decode_frames(path)[0][0], rgba[..., :3])  # both are lossless
    path = write_video(tmp_path / "g.mkv", [halves((90,) * 3, (200,) * 3)], codec="ffv1",
                       pix_fmt="gray")  # fmt: skip
    frame = decode_frames(path)[0][0]
    assert_colour(frame[:, :32], (90, 90, 90))
    assert_colour(frame[:, 32:], (200, 200, 200))


def test_max_frames_and_a_second_pass(tmp_path):
    path = write_video(tmp_path / "a.mp4", [halves(RED, BLUE)] * 6)
    video = VideoFrames(path, max_frames=2)
    assert len(list(video)) == 2
    assert len(list(video)) == 2
    assert (video.info.num_frames, video.info.num_damaged) == (2, 0)
    for bad in ({"max_frames": 0}, {"short_side": 0}):
        with pytest.raises(ValueError, match="must be at least 1, not 0"):
            VideoFrames(path, **bad)


def test_no_video_says_why(tmp_path):
    with wave.open(str(tmp_path / "song.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    whole = write_video(tmp_path / "whole.mp4", [halves(RED, BLUE)] * 3).read_bytes()
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "header.mp4").write_bytes(whole[:40])
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "unknown.mp4").write_bytes(whole.replace(b"avc1", b"zzzz"))
    (tmp_path / "text.avi").write_text("This is a text, whatever its name says.\n")
    (tmp_path / "folder.mp4").mkdir()
    for name, reason in {
        "song.wav": "has no video stream, only: audio",
        "empty.mp4": "the file is empty",
        "header.mp4": "no video that can be opened",
        "half.mp4": "damaged",
        "unknown.mp4": "of a codec that FFmpeg lacks",
        "text.avi": "no video that can be opened",
        "folder.mp4": "is a folder",
        "nowhere.mp4": "there is no such file",
    }.items():
        with pytest.raises(DataError, match=reason) as error:
            decode_frames(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)


def test_frames_cut_off_are_counted(tmp_path):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(20)]
    path = write_video(tmp_path / "a.avi", noise, codec="mjpeg", pix_fmt="yuvj420p")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    frames, info = decode_frames(path)
    assert 5 <= len(frames) <= 12  # frames of noise are of one size, so about half are left
    assert info.num_frames == len(frames)
    # The header still promises 20; a frame cut in two may be shown and counted as damaged too.
    assert info.num_frames + info.num_damaged in (20, 21)


def test_one_damaged_packet_costs_only_its_frame(tmp_path):
    frames = [halves((20 * i,) * 3, (255 - 20 * i,) * 3) for i in range(10)]
    path = write_video(tmp_path / "a.avi", frames, codec="mjpeg", pix_fmt="yuvj444p")
    whole, _ = decode_frames(path)
    data = bytearray(path.read_bytes())
    chunk = data.index(b"movi")
    for _ in range(5):  # to the fifth frame's chunk
        chunk = data.index(b"00dc", chunk + 4)
    size = struct.unpack("<I", data[chunk + 4 : chunk + 8])[0]
    data[chunk + 8 : chunk + 8 + size] = bytes(size)
    path.write_bytes(data)
    left, info = decode_frames(path)
    assert (info.num_frames, info.num_damaged) == (9, 1)
    np.testing.assert_array_equal(left, np.delete(whole, 4, axis=0))


def test_absurd_sizes_are_refused(tmp_path, monkeypatch):
    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    width, height = 100_000, 1_000  # 12 MB of black at one bit a pixel, 300 MB as RGB
    rows = zlib.compress(bytes((width // 8 + 1) * height))
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    (tmp_path / "huge.png").write_bytes(png)
    with pytest.raises(DataError, match="more than 67108864 pixels, the limit"):
        decode_frames(tmp_path / "huge.png")
    path = write_video(tmp_path / "a.mp4", [halves(RED, BLUE)])
    monkeypatch.setattr(video_module, "MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(DataError, match="64x48 pixels a frame are more than the limit of 3071"):
        decode_frames(path)
    # FFmpeg pads rows before it counts, so a video at the very limit may be refused.
    monkeypatch.setattr(video_module, "MAX_PIXELS", 2 * 64 * 48)
    assert len(decode_frames(path)[0]) == 1


def test_jpeg_keeps_rgb_and_quality_counts(tmp_path):
    frame = halves(RED, BLUE)
    decoded = cv2.cvtColor(
        cv2.imdecode(np.frombuffer(encode_jpeg(frame), np.uint8), cv2.IMREAD_COLOR),
        cv2.COLOR_BGR2RGB,
    )
    assert_colour(decoded[:, 4:28], RED)
    assert_colour(decoded[:, 36:60], BLUE)
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    assert len(encode_jpeg(noise, 95)) > 2 * len(encode_jpeg(noise, 50))


def test_a_video_too_long_for_a_record_is_refused(tmp_path, monkeypatch):
    path = write_video(tmp_path / "video.mp4", [halves(RED, BLUE)] * 3)
    assert len(encode_video(path, short_side=24, quality=90).frames) == 3
    monkeypatch.setattr("input_pipeline.encoding.MAX_VIDEO_BYTES", 10)
    with pytest.raises(DataError, match="too long for one record: 1 frames"):
        encode_video(path, short_side=24, quality=90)


def test_tags_that_are_no_utf8_are_no_obstacle(tmp_path):
    path = tmp_path / "video.mp4"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Caf\u00e9"
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        frame = av.VideoFrame.from_ndarray(halves(RED, BLUE), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    assert b"Caf\xc3\xa9" in data
    path.write_bytes(data.replace(b"Caf\xc3\xa9", b"Caf\xe9\xff"))
    assert decode_frames(path)[1].num_frames == 1


@pytest.mark.parametrize("audio", [False, True])
def test_an_avi_header_that_overstates_is_no_damage(tmp_path, audio):
    path = write_video(tmp_path / "video.avi", [halves(RED, BLUE)] * 6, codec="mpeg4")
    data = bytearray(path.read_bytes())
    length = data.index(b"strh") + 8 + 32  # dwLength of the stream's header
    assert int.from_bytes(data[length : length + 4], "little") == 6
    data[length : length + 4] = (9).to_bytes(4, "little")
    if audio:  # chunks of sound stand in the index too
        entry = data.index(b"idx1") + 8
        data += b"01wb" + bytes(data[entry + 4 : entry + 16])
        size = int.from_bytes(data[entry - 4 : entry], "little") + 16
        data[entry - 4 : entry] = size.to_bytes(4, "little")
        data[4:8] = (len(data) - 8).to_bytes(4, "little")
    path.write_bytes(data)
    info = decode_frames(path)[1]
    assert (info.num_frames, info.num_damaged) == (6, 0)
    # Cut short, the file misses what the header says, for no index tells otherwise.
    path.write_bytes(data[: data.index(b"idx1") - 1])
    assert decode_frames(path)[1].num_damaged >= 3


PEOPLE_AND_ODD = [
    "people/bikes.mp4",
    "people/carphone_pristine.mp4",
    "people/chaplin.mp4",
    "people/exercise.avi",
    "people/grid_bbaf2n.mpg",
    "people/mmaction2_demo.mp4",
    "people/opencv_vtest_480x360.avi",
    "people/paddlevideo_example.avi",
    "people/short_hamilton_clip.mp4",
    "odd/decord_video_90.mov",
    "odd/h264_10bits.mp4",
    "odd/h265_video.mp4",
    "odd/made_gray_pixfmt.mp4",
    "odd/made_odd_size_101x75.avi",
    "odd/made_one_frame.mp4",
    "odd/made_tiny_16x16.mp4",
    "odd/transparent.webm",
    "odd/video_with_failing_audio.mp4",
]


@pytest.mark.parametrize("name", PEOPLE_AND_ODD)
def test_real_videos_agree_with_opencv(name):
    path = data_folder("samples") / name
    capture = cv2.VideoCapture(str(path))  # applies the rotation flag too
    for frame in VideoFrames(path, max_frames=3):
        expected = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)
        assert frame.shape == expected.shape
        # Both carry FFmpeg, in versions that round chroma in different ways: up to 1.6 of 255 here.
        # Red and blue swapped would make 8 and more wherever a picture has colour.
        assert np.abs(frame.astype(int) - expected).mean() < 2


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("odd/h264_10bits.mp4", 30),
        ("odd/h265_video.mp4", 10),
        ("odd/decord_video_90.mov", 3),
        ("odd/made_one_frame.mp4", 1),
        ("odd/transparent.webm", 150),
        ("people/carphone_pristine.mp4", 120),
    ],
)
def test_real_videos_decode_whole(name, frames):
    info = decode_frames(data_folder("samples") / name, short_side=64)[1]
    assert (info.num_frames, info.num_damaged) == (frames, 0)


def test_real_damaged_files():
    bad = data_folder("samples", "bad")
    frames, info = decode_frames(bad / "made_bitflips.avi")
    assert len(frames) == 31  # of 48: 17 are lost, and errors are covered up in some of the rest
    assert info.num_damaged >= 17
    for path in sorted(bad.iterdir()):
        if path.name != "made_bitflips.avi":
            with pytest.raises(DataError, match=path.name):
                decode_frames(path)
    with pytest.raises(DataError, match="has no video stream, only: audio"):
        decode_frames(data_folder("samples", "odd") / "audio_only_sine_8000.wav")
