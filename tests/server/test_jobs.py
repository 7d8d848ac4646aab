"""Video jobs: upload, progress events, result files, limits, expiry and deletion."""

import csv
import io
import json
import shutil
import threading
import time
from types import SimpleNamespace

import av
import pytest
from PIL import Image

import mien
from mien.io import video
from mien.io.source import Source
from mien.server import job_manager, uploads, video_analysis
from mien.server.job import RESULT_FILES, JobOptions
from mien.server.private_folder import PrivateFolder
from mien.server.video_analysis import check_video
from tests.server import serving

MP4 = {"content-type": "video/mp4"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A video of one second and 320 x 180 pixels, with sound."""
    return serving.write_video(tmp_path_factory.mktemp("clips") / "clip.mp4", seconds=1)


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory):
    """A video of one minute, whose analysis does not end during a test."""
    return serving.write_video(tmp_path_factory.mktemp("clips") / "long.mp4", seconds=60)


@pytest.fixture
def client(tiny_model):
    with serving.in_process(tiny_model, max_jobs=3) as client:
        yield client


@pytest.fixture(scope="module")
def client_and_job(tiny_model, clip):
    """Yield a client and the record of its finished job, whose video was uploaded in a form."""
    with serving.in_process(tiny_model) as client:
        form = {"video": ("../my clip.mp4", clip.read_bytes())}
        job_id = client.post("/videos", files=form).json()["id"]
        yield client, wait_for_end(client, job_id)


def upload(client, path, query="", content_type="video/mp4"):
    """Upload a video and return the id of the job."""
    response = client.post(
        f"/videos{query}", content=path.read_bytes(), headers={"content-type": content_type}
    )
    assert response.status_code == 202, response.text
    return response.json()["id"]


def parse_events(text):
    """Return the name and the job record of each server-sent event."""
    events = [event.splitlines() for event in text.split("\n\n")[:-1]]
    return [
        (name.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
        for name, data in events
    ]


def wait_for_events(client, job_id):
    """Wait until the job has ended, and return the name and the job record of each event."""
    return parse_events(client.get(f"/videos/{job_id}/events").text)


def wait_for_end(client, job_id):
    """Wait until the job has ended, and return its record."""
    assert wait_for_events(client, job_id)[-1][0] == "end"
    return client.get(f"/videos/{job_id}").json()


def download(client, job_id, name):
    response = client.get(f"/videos/{job_id}/results/{name}")
    assert response.status_code == 200, response.text
    assert response.headers["content-disposition"] == f'attachment; filename="{name}"'
    return response.content


def test_a_shutdown_ends_the_events_of_a_job(client, long_clip):
    job_id = upload(client, long_clip)
    client.app.state.backend.shutdown_event.set()
    ((name, record),) = wait_for_events(client, job_id)
    assert (name, record["state"]) == ("end", "deleted")


def test_the_oldest_failed_job_is_deleted_for_a_new_video(client, clip, tmp_path):
    invalid = tmp_path / "invalid.mp4"
    invalid.write_text("not a video")
    failed = [upload(client, invalid) for _ in range(3)]
    for job_id in failed:
        assert wait_for_end(client, job_id)["state"] == "failed"
    assert wait_for_end(client, upload(client, clip))["state"] == "done"
    assert client.get(f"/videos/{failed[0]}").status_code == 404
    assert client.get(f"/videos/{failed[2]}").status_code == 200


def test_a_video_gives_503_if_the_maximum_number_is_queued(client):
    jobs = serving.client_backend(client).jobs
    for _ in range(3):
        jobs.create("a.mp4", JobOptions()).state = "queued"
    response = client.post("/videos", content=b"x", headers=MP4)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "30"


def test_a_job_has_a_relative_location_until_it_is_deleted(client, clip):
    response = client.post("/videos", files={"video": ("clip.mp4", clip.read_bytes())})
    assert response.status_code == 202
    location = response.headers["location"]
    assert location == f"videos/{response.json()['id']}"  # relative to /videos
    assert client.get(location).status_code == client.head(location).status_code == 200
    assert client.delete(location).status_code == 204
    assert client.get(location).status_code == client.delete(location).status_code == 404


def test_events_report_the_progress_until_the_job_has_ended(client, clip):
    location = client.post("/videos", content=clip.read_bytes(), headers=MP4).headers["location"]
    response = client.get(f"{location}/events")
    assert response.headers["content-type"].startswith("text/event-stream")
    names, records = zip(*parse_events(response.text), strict=True)
    assert names[-1] == "end"
    assert set(names[:-1]) <= {"progress"}
    progress = [record["progress"] for record in records]
    assert progress == sorted(progress)
    assert (records[-1]["state"], progress[-1]) == ("done", 1.0)
    assert client.head(f"{location}/events").status_code == 405


def test_a_finished_job_has_all_result_files(client_and_job):
    client, job = client_and_job
    assert (job["state"], job["progress"], job["name"]) == ("done", 1.0, "my clip.mp4")
    assert job["result_files"] == list(RESULT_FILES)
    for name in RESULT_FILES:
        head = client.head(f"/videos/{job['id']}/results/{name}")
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) == len(download(client, job["id"], name))


def test_result_files_have_the_results_of_an_analyzer(client_and_job, clip, tiny_model):
    client, job = client_and_job
    lines = download(client, job["id"], "faces.jsonl").splitlines()
    results = list(mien.Analyzer(tiny_model, "whole").stream(str(clip)))
    assert [json.loads(line) for line in lines] == [
        {**result.to_dict(), "source": "my clip.mp4"} for result in results
    ]
    text = download(client, job["id"], "faces.csv").decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == sum(len(result) for result in results) == job["frames"]
    with av.open(io.BytesIO(download(client, job["id"], "annotated.mp4"))) as annotated:
        assert annotated.streams.audio
        assert sum(1 for _ in annotated.decode(annotated.streams.video[0])) == len(results)
    with Image.open(io.BytesIO(download(client, job["id"], "timeline.png"))) as image:
        assert image.width > 100
    assert "my clip.mp4" in download(client, job["id"], "page.html").decode()


def test_responses_do_not_contain_the_path_of_the_folder(client_and_job):
    client, job = client_and_job
    folder = str(serving.client_backend(client).jobs._folder.path)
    assert folder not in json.dumps(job)
    for name in ("page.html", "faces.jsonl", "faces.csv"):
        assert folder not in download(client, job["id"], name).decode()


def test_query_parameters_select_frames_and_result_files(client, clip):
    query = "?to=faces.jsonl&every=5&start=0.2&end=0.8&smooth=0&name=a.mp4"
    job = wait_for_end(client, upload(client, clip, query, "application/octet-stream"))
    assert (job["result_files"], job["name"]) == (["faces.jsonl"], "a.mp4")
    lines = download(client, job["id"], "faces.jsonl").splitlines()
    selection = video.FrameSelection(every=5, start=0.2, end=0.8)
    assert len(lines) == len(list(video.frames(Source.parse(str(clip)), selection)))
    response = client.get(f"/videos/{job['id']}/results/faces.csv")
    assert response.status_code == 404
    assert "faces.jsonl" in response.json()["error"]


@pytest.mark.parametrize(
    ("query", "expected_text"),
    [("?to=passwords", "to"), ("?every=0", "every"), ("?seconds=nan", "seconds"),
     ("?start=-1", "start"), ("?start=5&end=2", "before"), ("?every=2&seconds=1", "both"),
     ("?smooth=inf", "smooth"), ("?model=unheard-of", "unheard-of"),
     ("?detector=../x", "../x")],
)  # fmt: skip
def test_an_invalid_query_is_rejected_before_the_upload(client, query, expected_text):
    response = client.post(f"/videos{query}", content=b"x", headers=MP4)
    assert response.status_code == 422
    assert expected_text in response.json()["error"]
    assert serving.client_backend(client).jobs.count() == 0


def test_a_file_that_is_not_a_video_fails_with_an_error_of_one_line(client):
    for body in (b"nothing like a video", serving.image_file(), b"\0" * 5000):
        posted = client.post("/videos", content=body, headers=MP4)
        job = wait_for_end(client, posted.json()["id"])
        assert (job["state"], job["result_files"]) == ("failed", [])
        assert "video" in job["error"]
        assert "\n" not in job["error"]
        client.delete(f"/videos/{job['id']}")


def test_a_form_that_is_evicted_while_its_file_is_copied_gives_503(client, clip, monkeypatch):
    copy_upload = uploads._copy_upload

    def evict_and_copy(file, job):
        serving.client_backend(client).jobs.delete(job.id)
        copy_upload(file, job)

    monkeypatch.setattr(uploads, "_copy_upload", evict_and_copy)
    response = client.post("/videos", files={"video": ("clip.mp4", clip.read_bytes())})
    assert (response.status_code, "too slow" in response.json()["error"]) == (503, True)


def test_a_body_without_a_video_is_rejected(client):
    response = client.post("/videos", content=b"", headers=MP4)
    assert (response.status_code, "empty" in response.json()["error"]) == (422, True)
    assert client.post("/videos", json={"video": 1}).status_code == 415
    assert client.post("/videos", data={"video": "x"}, files={}).status_code == 415
    form = {"content-type": "multipart/form-data; boundary=a"}
    assert client.post("/videos", content=b"--a--\r\n", headers=form).status_code == 422
    assert serving.client_backend(client).jobs.count() == 0


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("mp4", "mpeg4"), ("mov", "mpeg4"), ("mkv", "libx264"), ("webm", "libvpx"), ("avi", "libx264"),
     ("ts", "mpeg2video"), ("mpg", "mpeg2video"), ("flv", "flv"), ("wmv", "wmv2"), ("gif", "gif")],
)  # fmt: skip
def test_common_video_formats_are_accepted(tmp_path, suffix, codec):
    if codec == "gif":
        path = tmp_path / "a.gif"
        frames = [Image.new("RGB", (32, 32), color) for color in ("red", "blue")]
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    else:
        path = serving.write_video(tmp_path / f"a.{suffix}", 0.4, codec=codec)
    path = path.rename(tmp_path / "upload")
    info = check_video(Source("video", str(path), path.name), max_pixels=10**6)
    assert info.width == (32 if codec == "gif" else 320)


def test_playlists_are_not_followed(client, clip, tmp_path):
    """FFmpeg would open the entries of a playlist, such as files of other users and URLs."""
    m3u = (
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n"
        f"#EXTINF:1.0,\nfile://{clip}\n#EXT-X-ENDLIST\n"
    )
    (tmp_path / "clip.mp4").write_bytes(clip.read_bytes())
    concat = "ffconcat version 1.0\nfile 'clip.mp4'\n"
    sdp = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"
    dash = f'<?xml version="1.0"?><MPD><BaseURL>file://{clip}</BaseURL></MPD>'
    path = tmp_path / "upload"
    path.write_text(concat)
    assert video.probe(Source.parse(str(path))).width == 320  # followed without the allow-list
    for playlist in (m3u, concat, sdp, dash):
        path.write_text(playlist)
        with pytest.raises(mien.UserError):
            check_video(Source("video", str(path), path.name), max_pixels=10**9)
        posted = client.post("/videos", content=playlist, headers=MP4)
        job = wait_for_end(client, posted.json()["id"])
        assert (job["state"], job["frames"]) == ("failed", 0)
        client.delete(f"/videos/{job['id']}")


def test_large_frames_and_large_files_are_rejected(clip, tiny_model):
    with serving.in_process(tiny_model, max_video_pixels=1000) as client:
        job = wait_for_end(client, upload(client, clip))
        assert "320 x 180" in job["error"]
    with serving.in_process(tiny_model, max_video_bytes=1000) as client:
        assert client.post("/videos", content=b"x" * 1001, headers=MP4).status_code == 413
        form = {"v": ("a.mp4", b"x" * 1001)}
        assert client.post("/videos", files=form).status_code == 413
        # The only file that is left is the lock file, whose name starts with a dot.
        assert list(serving.client_backend(client).jobs._folder.path.glob("[!.]*")) == []


def test_the_folder_of_jobs_is_private(client):
    folder = serving.client_backend(client).jobs._folder.path
    assert folder.stat().st_mode & 0o777 == 0o700


def test_queued_jobs_do_not_expire_and_run_after_the_running_job_is_deleted(
    client, clip, long_clip
):
    jobs = serving.client_backend(client).jobs
    running = upload(client, long_clip, "?to=faces.jsonl")
    assert client.get(f"/videos/{running}/results/faces.jsonl").status_code == 409
    queued = [upload(client, clip, "?to=faces.jsonl") for _ in range(2)]
    jobs.get(queued[1]).expires_at = time.monotonic() - 1
    assert {client.get(f"/videos/{job_id}").json()["state"] for job_id in queued} == {"queued"}
    response = client.post("/videos", content=b"x", headers=MP4)
    assert response.status_code == 503
    assert 1 <= int(response.headers["retry-after"]) <= 30
    assert client.delete(f"/videos/{running}").status_code == 204
    assert {wait_for_end(client, job_id)["state"] for job_id in queued} == {"done"}
    assert not (jobs._folder.path / running).exists()


def test_an_expired_job_is_deleted_with_its_files(client, clip):
    jobs = serving.client_backend(client).jobs
    expired, stored = (upload(client, clip, "?to=faces.jsonl") for _ in range(2))
    for job_id in (expired, stored):
        assert wait_for_end(client, job_id)["state"] == "done"
    jobs.get(expired).expires_at = time.monotonic() - 1
    assert client.get(f"/videos/{expired}").status_code == 404
    assert not (jobs._folder.path / expired).exists()
    # The upload has been deleted after the analysis.
    assert [path.name for path in (jobs._folder.path / stored).iterdir()] == ["faces.jsonl"]


def test_no_name_gives_access_to_files_other_than_results(client, clip):
    job_id = upload(client, clip, "?to=faces.jsonl")
    wait_for_end(client, job_id)
    for name in ("..%2f..%2fetc%2fpasswd", "upload", "faces.jsonl%00", ".part"):
        assert client.get(f"/videos/{job_id}/results/{name}").status_code == 404
    for other_id in ("..%2f..", "x" * 5000, "%00", "*"):
        assert client.get(f"/videos/{other_id}").status_code == 404


def test_a_bug_in_one_job_does_not_affect_the_next(client, clip, monkeypatch):
    def fail(*_):
        raise RuntimeError("no")

    with monkeypatch.context() as patch:
        patch.setattr(video_analysis, "_without_location", fail)
        job = wait_for_end(client, upload(client, clip))
    assert (job["state"], "bug" in job["error"]) == ("failed", True)
    assert wait_for_end(client, upload(client, clip, "?to=faces.csv"))["state"] == "done"


def test_a_job_whose_analysis_fails_because_it_is_deleted_is_not_counted_as_failed(
    client, clip, monkeypatch
):
    started = threading.Event()

    def fail_after_deletion(job, *_):
        started.set()
        assert job.stop_event.wait(20)
        raise mien.UserError("The file does not exist.")

    monkeypatch.setattr(job_manager, "analyze_video", fail_after_deletion)
    job_id = upload(client, clip)
    job = serving.client_backend(client).jobs.get(job_id)
    assert started.wait(20)
    client.delete(f"/videos/{job_id}")
    count = 'mien_videos_total{state="deleted"} 1.0'
    serving.wait_for(lambda: count in client.get("/metrics").text)
    assert (job.state, job.error) == ("deleted", "")


def test_the_folder_is_created_again_if_it_has_been_removed(client, clip):
    removed = serving.client_backend(client).jobs._folder.path
    shutil.rmtree(removed)
    assert wait_for_end(client, upload(client, clip, "?to=faces.csv"))["state"] == "done"
    assert not removed.exists()


def test_deletion_of_a_job_stops_its_decoder_before_the_next_selected_frame(
    client, long_clip, monkeypatch
):
    decode = video.TimedDecoder.__iter__
    decoding_started = threading.Event()

    def decode_slowly(decoder):
        for frame in decode(decoder):
            yield frame
            decoding_started.set()
            time.sleep(0.1)

    monkeypatch.setattr(video.TimedDecoder, "__iter__", decode_slowly)
    job_id = upload(client, long_clip, "?to=faces.jsonl&seconds=1000")
    assert decoding_started.wait(20)
    client.delete(f"/videos/{job_id}")
    # Decoding the whole video would take over two minutes.
    serving.wait_for(lambda: "decoder" not in [thread.name for thread in threading.enumerate()], 10)


def test_a_job_fails_if_its_analysis_takes_too_long(tiny_model, long_clip):
    with serving.in_process(tiny_model, job_lifetime_seconds=0.2) as client:
        job = serving.client_backend(client).jobs.get(upload(client, long_clip, "?to=faces.jsonl"))
        serving.wait_for(lambda: job.state == "failed")
        assert job.name in job.error


def test_a_damaged_part_of_a_video_causes_a_warning_that_names_the_video(client, clip, tmp_path):
    damaged = tmp_path / "damaged.mp4"
    body = bytearray(clip.read_bytes())
    body[len(body) // 2 : len(body) // 2 + 4000] = bytes(4000)
    damaged.write_bytes(body)
    job = wait_for_end(client, upload(client, damaged, "?to=faces.jsonl&name=damaged.mp4"))
    assert job["state"] == "done"
    assert job["warnings"]
    assert all("damaged.mp4" in warning for warning in job["warnings"])


def test_a_shutdown_removes_the_folder(tiny_model, long_clip):
    with serving.in_process(tiny_model) as client:
        folder = serving.client_backend(client).jobs._folder.path
        upload(client, long_clip)
        upload(client, long_clip)
        assert folder.exists()
    assert not folder.exists()


def test_the_folder_of_a_killed_process_is_removed_by_the_next_process(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    killed, running = PrivateFolder(), PrivateFolder()
    (killed.path / "video").mkdir()
    killed._lock_file.close()  # as the operating system does when a process ends
    (tmp_path / "mien-serve-other").mkdir()
    next_folder = PrivateFolder()
    assert not killed.path.exists()
    assert running.path.exists()
    assert (tmp_path / "mien-serve-other").exists()
    running.close()
    next_folder.close()
    assert [path.name for path in tmp_path.iterdir()] == ["mien-serve-other"]


def test_a_video_gives_503_if_the_disk_is_full(client, monkeypatch):
    usage = SimpleNamespace(free=10)  # bytes
    monkeypatch.setattr(job_manager.shutil, "disk_usage", lambda _: usage)
    response = client.post("/videos", content=b"x", headers=MP4)
    assert (response.status_code, "disk" in response.json()["error"]) == (503, True)
