"""Folders: the files that are read, and the warning about the others."""

import os
import time
import warnings
from pathlib import Path

import pytest
from PIL import Image

from mien.errors import UserError
from mien.io import file_kind
from mien.io import folder as folders
from mien.io.source import Source
from mien.pipeline import expand_sources
from tests.io.test_source import write_clip
from tests.synthetic.images import animation, encoded

PNG = encoded(Image.new("RGB", (4, 4)), "PNG")
HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(99)
"""The signature of a HEIC file, and filler."""


@pytest.fixture(autouse=True)
def without_heif(monkeypatch):
    """Pretend that pillow-heif is not installed, so that HEIC files are not read."""
    monkeypatch.setattr(file_kind, "supports_heif", lambda: False)
    monkeypatch.setattr(folders, "supports_heif", lambda: False)


def write_files(folder, **files):
    """Write files; in their names, `__` stands for `/` and `_` for `.`."""
    for name, body in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)


def expand(text):
    """Return the kinds of the listed files by name, and the warnings."""
    messages = []
    sources = Source.expand(str(text), lambda message: messages.append(str(message)))
    return {Path(source.location).name: source.kind for source in sources}, messages


def test_files_are_recognized_by_content_or_suffix(tmp_path):
    clip = Path(write_clip(str(tmp_path / "clip.mp4"))).read_bytes()
    jpeg = encoded(Image.new("L", (4, 4)), "JPEG")
    write_files(tmp_path, a_apng=PNG, b_mpo=jpeg, clip_vob=clip, c=PNG, d_download=clip, e_jpg=clip,
                f_mp4=PNG, g_xyz=animation("GIF"))  # fmt: skip
    assert expand(tmp_path) == (
        {
            "a.apng": "image", "b.mpo": "image", "c": "image", "clip.mp4": "video",
            "clip.vob": "video", "d.download": "video", "e.jpg": "video", "f.mp4": "image",
            "g.xyz": "animation",
        },
        [],
    )  # fmt: skip


def test_other_files_are_counted_once(tmp_path):
    write_files(
        tmp_path, a_png=PNG, notes_txt=b"text", sub__x_HEIC=HEIC, sub__y_heic=HEIC, z=b"data"
    )
    files, (message,) = expand(tmp_path)
    assert files == {"a.png": "image"}
    assert message.startswith(f"{tmp_path}: 4 files")
    assert "2 .heic, 1 without suffix, 1 .txt" in message
    assert "pip install '.[heic]'" in message


def test_only_the_most_frequent_suffixes_are_named(tmp_path):
    write_files(tmp_path, a_png=PNG, **{f"{k}_x{k % 9}": b"" for k in range(2000)})
    _, (message,) = expand(tmp_path)
    assert "2,000 files" in message
    assert "223 .x0, 223 .x1, " in message  # 2,000 is 9 * 222 + 2
    assert "888 other" in message  # 4 * 222
    assert ".x5" not in message


def test_hidden_and_system_files_are_skipped_without_a_warning(tmp_path):
    apple_double = b"\0\5\x16\7" + bytes(90)  # metadata that macOS writes next to files
    write_files(tmp_path, a_png=PNG, Thumbs_db=b"x", desktop_ini=b"x")
    for name in ("._a.png", ".DS_Store", ".hidden.png", ".git/a.png", "__MACOSX/._a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(apple_double)
    assert expand(tmp_path) == ({"a.png": "image"}, [])
    hidden = tmp_path / ".named"
    write_files(hidden, a_png=PNG)
    assert expand(hidden) == ({"a.png": "image"}, [])


@pytest.mark.parametrize("suffix", ["ts", "rm", "mod"])
def test_ambiguous_suffixes_need_the_content_of_a_video(tmp_path, suffix):
    write_files(tmp_path, a_png=PNG, **{f"b_{suffix}": b"const x: number = 1;\n" * 40})
    files, (message,) = expand(tmp_path)
    assert files == {"a.png": "image"}
    assert f"1 .{suffix}" in message
    assert Source.parse(str(tmp_path / f"b.{suffix}")).kind == "video"


def test_audio_and_raw_files_are_counted(tmp_path):
    write_files(
        tmp_path, a_png=PNG, b_m4a=b"\0\0\0 ftypM4A ", c_dng=b"II*\0" + bytes(99), d_ogg=b"OggS"
    )
    files, (message,) = expand(tmp_path)
    assert list(files) == ["a.png"]
    assert "1 .dng, 1 .m4a, 1 .ogg" in message


def test_other_content_with_an_image_suffix_is_listed_so_that_its_error_is_reported(tmp_path):
    write_files(tmp_path, a_png=b"text", b_jpg=b"", c_jpg=HEIC)
    (tmp_path / "d.jpg").symlink_to("nowhere")
    assert expand(tmp_path) == (dict.fromkeys(("a.png", "b.jpg", "c.jpg", "d.jpg"), "image"), [])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="requires named pipes")
def test_pipes_in_folders_are_not_opened(tmp_path):
    write_files(tmp_path, a_png=PNG)
    os.mkfifo(tmp_path / "b.png")
    files, (message,) = expand(tmp_path)
    assert files == {"a.png": "image"}
    assert "1 .png" in message


def test_unreadable_and_linked_subfolders_are_named(tmp_path, monkeypatch):
    write_files(tmp_path / "in", a_png=PNG, secret__b_png=PNG)
    write_files(tmp_path / "elsewhere", c_png=PNG)
    (tmp_path / "in/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    scandir = os.scandir

    def deny(path):  # instead of permissions, which do not apply to root
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(folders.os, "scandir", deny)
    files, (message,) = expand(tmp_path / "in")
    assert files == {"a.png": "image"}
    assert "3 subfolders" in message
    assert "link (a link), loop (a link), secret (Permission denied)" in message
    assert expand(tmp_path / "in/link") == ({"c.png": "image"}, [])
    with pytest.raises(UserError, match="Permission denied"):
        Source.expand(str(tmp_path / "in/secret"))


def test_a_folder_without_images_is_an_error_that_counts_its_files(tmp_path):
    write_files(tmp_path, a_heic=HEIC, b_txt=b"x")
    with pytest.raises(UserError, match=r"2 files .*1 \.heic, 1 \.txt"):
        Source.expand(str(tmp_path))


def test_unread_files_are_a_python_warning_by_default(tmp_path):
    write_files(tmp_path, a_png=PNG, b_txt=b"x")
    with pytest.warns(UserWarning, match=r"1 \.txt"):
        Source.expand(str(tmp_path))


def test_folders_that_a_glob_matches_are_counted(tmp_path):
    write_files(tmp_path, a_png=PNG, sub__b_png=PNG)
    files, (message,) = expand(f"{tmp_path}/*")
    assert list(files) == ["a.png"]
    assert f"{tmp_path}/*: 1 " in message
    assert expand(f"{tmp_path}/**") == (dict.fromkeys(("a.png", "b.png"), "image"), [])


def test_pipeline_reports_unread_files_as_a_warning(tmp_path):
    write_files(tmp_path, a_png=PNG, b_txt=b"x")
    errors, messages = [], []
    assert len(expand_sources([str(tmp_path)], errors.append, messages.append)) == 1
    assert (len(errors), len(messages)) == (0, 1)


def test_a_large_folder_is_expanded_fast(tmp_path):
    (tmp_path / "0.png").write_bytes(PNG)
    (tmp_path / "0.txt").write_bytes(b"text")
    for k in range(1, 2000):
        os.link(tmp_path / "0.png", tmp_path / f"{k}.png")
        os.link(tmp_path / "0.txt", tmp_path / f"{k}.txt")
    start = time.perf_counter()
    assert len(expand(tmp_path)[0]) == 2000
    assert time.perf_counter() - start < 2  # half a millisecond per file


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "AVIF"])
def test_animations_are_recognized_and_stills_are_images(tmp_path, image_format):
    still = encoded(Image.new("RGB", (8, 6)), image_format)
    write_files(tmp_path, a_x=animation(image_format, duration=40), b_x=still)
    assert expand(tmp_path)[0] == {"a.x": "animation", "b.x": "image"}


def test_a_png_with_a_long_header_is_an_animation(tmp_path):
    body = animation("PNG", duration=40, icc_profile=os.urandom(5000))
    write_files(tmp_path, a_png=body)
    assert expand(tmp_path)[0] == {"a.png": "animation"}


def test_damaged_animations_cause_no_warning(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for image_format in ("GIF", "PNG", "WEBP"):
            write_files(tmp_path, a_x=animation(image_format, duration=40)[:60])
            assert expand(tmp_path)[0]
