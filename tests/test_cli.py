"""The command line as a user meets it: exit codes, one-line errors, and rejects with reasons."""

from __future__ import annotations

import io
import json
import shutil
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from PIL import Image

from dataset_tools.cli import main
from dataset_tools.doctor import examine, opencv_providers


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def error_line(result: Result) -> str:
    """The one line on standard error; there is no traceback."""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


def write_config(folder: Path, sources: list[dict[str, object]], **more: object) -> Path:
    crawl = {"sources": sources, **more.pop("crawl", {})}  # type: ignore[dict-item]
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"name": "test", "crawl": crawl, **more}))
    return path


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = b"\0\0\0\0IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body)) + end


@pytest.fixture
def hostile_folder(tmp_path: Path, hopper_path: Path) -> Path:
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(hopper_path, photos / "good.jpg")
    (photos / "cut.jpg").write_bytes(hopper_path.read_bytes()[:9000])
    (photos / "bomb.png").write_bytes(png_header(30_000, 30_000))
    (photos / "page.jpg").write_text("<!DOCTYPE html><html>404</html>")
    (photos / "empty.png").write_bytes(b"")
    return tmp_path


@pytest.fixture
def silent_origin() -> Iterator[str]:
    """A server that takes connections and never answers."""
    taken = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in taken:
        connection.close()


def test_hostile_files_become_rejects_with_reasons_and_the_good_one_goes_on(hostile_folder: Path) -> None:
    source = {"type": "folder", "name": "p", "path": "photos", "licence": "CC0-1.0"}
    config = write_config(hostile_folder, [source])
    result = call("crawl", config)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("crawl     5 in, 1 kept, 4 rejected")
    rows = json.loads(call("rejects", config, "--json").stdout)
    assert {row["item_key"].rpartition("/")[2]: row["reason"] for row in rows} == {
        "cut.jpg": "truncated",
        "bomb.png": "too_many_pixels",
        "page.jpg": "not_an_image",
        "empty.png": "empty",
    }
    text = call("rejects", config, "--reason", "too_many_pixels").stdout
    assert "900000000 pixels" in text
    assert len(text.splitlines()) == 1


def test_too_many_rejects_end_with_exit_code_3(hostile_folder: Path) -> None:
    source = {"type": "folder", "name": "p", "path": "photos", "licence": "CC0-1.0"}
    config = write_config(hostile_folder, [source], max_reject_rate=0.5)
    result = call("crawl", config)
    assert result.exit_code == 3
    assert "max_reject_rate" in error_line(result)


def test_a_server_that_never_answers_costs_its_deadline_and_a_row(tmp_path: Path, silent_origin: str) -> None:
    (tmp_path / "urls.csv").write_text(f"url,licence\n{silent_origin}/a.png,CC0-1.0\n")
    config = write_config(
        tmp_path,
        [{"type": "url_list", "name": "u", "path": "urls.csv"}],
        crawl={"allow_origins": [silent_origin], "fetch": {"deadline_s": 1, "idle_s": 0.5, "tries": 1}},
    )
    started = time.monotonic()
    result = call("crawl", config)
    assert time.monotonic() - started < 30
    assert result.exit_code == 3  # everything was rejected
    (row,) = json.loads(call("rejects", config, "--json").stdout)
    assert (row["reason"], row["retryable"]) == ("transport", True)


def test_a_coco_file_with_a_wrong_rle_is_named_with_its_reason(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((80, 100, 3), np.uint8)).save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    annotation = {"id": 5, "image_id": 1, "category_id": 1, "iscrowd": 0}
    annotation["segmentation"] = {"size": [80, 100], "counts": [10, 20]}
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "height": 80, "width": 100}],
        "annotations": [annotation],
        "categories": [{"id": 1, "name": "face_mask"}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    source = {"type": "coco", "name": "c", "annotations": "coco.json", "images": ".", "licence": "CC0-1.0"}
    config = write_config(tmp_path, [source])
    assert call("crawl", config).exit_code == 0
    (row,) = json.loads(call("rejects", config, "--json").stdout)
    assert (row["reason"], row["derived"]) == ("rle_sum", True)
    assert "30" in row["detail"] and "8000" in row["detail"]


def test_an_unknown_key_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    config = write_config(tmp_path, [], wrokers=2)
    result = call("crawl", config)
    assert result.exit_code == 2
    assert "did you mean workers" in error_line(result)


def test_a_missing_configuration_or_source_is_exit_code_2(tmp_path: Path) -> None:
    result = call("run", tmp_path / "none.yaml")
    assert result.exit_code == 2
    assert "build-dataset init" in error_line(result)
    config = write_config(
        tmp_path, [{"type": "folder", "name": "p", "path": "nowhere", "licence": "CC0-1.0"}]
    )
    result = call("crawl", config)
    assert result.exit_code == 2
    assert "nowhere" in error_line(result)


def test_a_stage_out_of_order_is_exit_code_1(hostile_folder: Path) -> None:
    source = {"type": "folder", "name": "p", "path": "photos", "licence": "CC0-1.0"}
    config = write_config(hostile_folder, [source])
    for command in ("filter", "export", "stats"):
        result = call(command, config)
        assert result.exit_code == 1
        assert "build-dataset" in error_line(result)


def test_publishing_before_export_is_refused(hostile_folder: Path) -> None:
    source = {"type": "folder", "name": "p", "path": "photos", "licence": "CC0-1.0"}
    config = write_config(hostile_folder, [source])
    result = call("publish", config, "--repo", "me/x", "--dry-run")
    assert result.exit_code == 1
    assert "export" in error_line(result)


def test_rejects_knows_its_stages_and_reasons_and_prints_one_line_each(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "two\nlines\x1b[2J.jpg").write_bytes(b"")
    config = write_config(tmp_path, [{"type": "folder", "name": "p", "path": "photos", "licence": "CC0-1.0"}])
    call("crawl", config)
    listed = call("rejects", config).stdout
    assert listed.splitlines() == ["crawl     empty            p/two lines\\x1b[2J.jpg  0 bytes"]
    for option, wrong in (("--stage", "crowl"), ("--reason", "emty")):
        result = call("rejects", config, option, wrong)
        assert result.exit_code == 2
        assert "did you mean" in error_line(result)


@pytest.mark.parametrize("name", ["me", "me/x/y", "me/ü", "../x/y", "me/x y"])
def test_a_name_the_hub_would_refuse_is_refused_at_once(hostile_folder: Path, name: str) -> None:
    source = {"type": "folder", "name": "p", "path": "photos", "licence": "CC0-1.0"}
    result = call("publish", write_config(hostile_folder, [source]), "--repo", name, "--dry-run")
    assert result.exit_code == 2
    assert "repository name" in error_line(result)


def test_init_writes_a_file_once(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    assert call("init", path).exit_code == 0
    path.write_text("mine")
    assert call("init", path).exit_code == 2
    assert path.read_text() == "mine"


def test_doctor_finds_exactly_one_provider_of_cv2(tmp_path: Path) -> None:
    assert [name.split()[0] for name in opencv_providers()] == ["opencv-python-headless"]
    topics = {finding.topic: finding for finding in examine(tmp_path)}
    assert topics["cv2 providers"].state == "ok"
    assert {"gpu", "disk", "torch", "face_landmarker", "efficientnet_lite0"} <= set(topics)


def test_doctor_says_what_to_do_about_a_second_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataset_tools import doctor

    both = ["opencv-contrib-python 5.0.0", "opencv-python-headless 4.12.0.88"]
    monkeypatch.setattr(doctor, "opencv_providers", lambda: both)
    finding = doctor._one_opencv()
    assert finding.state == "problem"
    assert "pip install opencv-python-headless==4.12.0.88" in finding.advice
