"""Videos as jobs: received, watched, told of, handed out, forgotten."""

import csv
import io
import json
import shutil
import threading
import time

import av
import pytest
from PIL import Image

import mien
from mien.io import video
from mien.io.source import Source
from mien.server import jobs as jobs_module
from mien.server import video_analysis
from mien.server.job import RESULTS
from mien.server.job_folders import Folder
from mien.server.video_analysis import examined
from tests.server import serving

HERE = jobs_module.__name__


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A clip of one second with sound."""
    return serving.clip(tmp_path_factory.mktemp("clips") / "clip.mp4", seconds=1)


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory):
    """A clip that takes a while to watch."""
    return serving.clip(tmp_path_factory.mktemp("clips") / "long.mp4", seconds=60)


@pytest.fixture
def client(tiny_model):
    with serving.in_process(tiny_model, max_jobs=3) as client:
        yield client


def post(client, path, query="", kind="video/mp4"):
    found = client.post(
        f"/videos{query}", content=path.read_bytes(), headers={"content-type": kind}
    )
    assert found.status_code == 202, found.text
    return found.json()["id"]


def ended(client, identity):
    events = client.get(f"/videos/{identity}/events").text
    assert events.rstrip().rpartition("\n\n")[2].startswith("event: end\n")
    return client.get(f"/videos/{identity}").json()


def test_a_job_that_ends_with_the_service_says_so_at_last(client, long_clip):
    identity = post(client, long_clip)
    client.app.state.service.stopping.set()
    (kind, told), *more = [
        event.splitlines()
        for event in client.get(f"/videos/{identity}/events").text.split("\n\n")[:-1]
    ]
    assert (kind, more) == ("event: end", [])
    assert json.loads(told.removeprefix("data: "))["state"] == "removed"


def result(client, identity, name):
    found = client.get(f"/videos/{identity}/results/{name}")
    assert found.status_code == 200, found.text
    assert found.headers["content-disposition"] == f'attachment; filename="{name}"'
    return found.content


def test_what_failed_makes_room_for_a_new_video(client, clip, tmp_path):
    junk = tmp_path / "junk.mp4"
    junk.write_text("not a video")
    failed = [post(client, junk) for _ in range(3)]
    for identity in failed:
        assert ended(client, identity)["state"] == "failed"
    assert ended(client, post(client, clip))["state"] == "done"
    assert client.get(f"/videos/{failed[0]}").status_code == 404
    assert client.get(f"/videos/{failed[2]}").status_code == 200


def test_where_all_videos_are_kept_it_is_told_for_how_long(client, clip):
    for _ in range(3):
        ended(client, post(client, clip))
    refused = client.post("/videos", content=b"x", headers={"content-type": "video/mp4"})
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 3000


def test_a_video_becomes_all_results(client, clip, tiny_model):
    sent = client.post("/videos", files={"video": ("../my clip.mp4", clip.read_bytes())})
    assert sent.status_code == 202
    here = sent.headers["location"]
    assert here == f"/videos/{sent.json()['id']}"
    events = client.get(f"{here}/events")
    assert events.headers["content-type"].startswith("text/event-stream")
    kinds = [line for line in events.text.splitlines() if line.startswith("event: ")]
    assert kinds[-1] == "event: end"
    assert set(kinds[:-1]) <= {"event: progress"}
    told = [json.loads(line[6:]) for line in events.text.splitlines() if line.startswith("data: ")]
    assert [one["progress"] for one in told] == sorted(one["progress"] for one in told)
    job = client.get(here).json()
    assert (job["state"], job["progress"], job["name"]) == ("done", 1.0, "my clip.mp4")
    assert job["results"] == list(RESULTS)
    records = [json.loads(line) for line in result(client, job["id"], "faces.jsonl").splitlines()]
    want = [found.to_dict() for found in mien.Analyzer(tiny_model, "whole").stream(str(clip))]
    assert records == [{**one, "source": "my clip.mp4"} for one in want]
    rows = list(csv.DictReader(io.StringIO(result(client, job["id"], "faces.csv").decode())))
    assert len(rows) == sum(len(one["faces"]) for one in records) == job["frames"]
    with av.open(io.BytesIO(result(client, job["id"], "annotated.mp4"))) as made:
        assert made.streams.audio
        assert sum(1 for _ in made.decode(made.streams.video[0])) == len(records)
    assert Image.open(io.BytesIO(result(client, job["id"], "timeline.png"))).width > 100
    page = result(client, job["id"], "page.html").decode()
    assert "my clip.mp4" in page
    folder = str(serving.service(client).jobs._folder.path)
    assert folder not in page + json.dumps(records) + json.dumps(job)
    assert client.delete(here).status_code == 204
    assert client.get(here).status_code == client.delete(here).status_code == 404


def test_only_what_is_asked_for_is_made(client, clip):
    query = "?to=faces.jsonl&every=5&start=0.2&end=0.8&smooth=0&name=a.mp4"
    job = ended(client, post(client, clip, query, "application/octet-stream"))
    assert (job["results"], job["name"]) == (["faces.jsonl"], "a.mp4")
    frames = result(client, job["id"], "faces.jsonl").splitlines()
    part = video.FrameSelection(every=5, start=0.2, end=0.8)
    assert len(frames) == len(list(video.frames(Source.parse(str(clip)), part)))
    refused = client.get(f"/videos/{job['id']}/results/faces.csv")
    assert (refused.status_code, "faces.jsonl" in refused.json()["error"]) == (404, True)


@pytest.mark.parametrize(
    ("query", "says"),
    [("?to=passwords", "to"), ("?every=0", "every"), ("?seconds=nan", "seconds"),
     ("?start=-1", "start"), ("?smooth=inf", "smooth"), ("?model=x", "No model"),
     ("?detector=../x", "No detector")],
)  # fmt: skip
def test_a_wrong_wish_is_refused_before_the_video_is_taken(client, query, says):
    refused = client.post(f"/videos{query}", content=b"x", headers={"content-type": "video/mp4"})
    assert refused.status_code == 422
    assert says in refused.json()["error"]
    assert serving.service(client).jobs.count() == 0


def test_what_is_no_video_fails_with_a_sentence(client):
    kinds = {"content-type": "video/mp4"}
    for body in (b"nothing like a video", serving.picture(), b"\0" * 5000):
        job = ended(client, client.post("/videos", content=body, headers=kinds).json()["id"])
        assert (job["state"], job["results"]) == ("failed", [])
        assert job["error"].startswith("video ")
        client.delete(f"/videos/{job['id']}")
    assert (
        client.post("/videos", content=b"", headers=kinds).json()["error"] == "The video is empty."
    )
    assert client.post("/videos", json={"video": 1}).status_code == 415
    assert client.post("/videos", data={"video": "x"}, files={}).status_code == 415
    form = {"content-type": "multipart/form-data; boundary=a"}
    assert client.post("/videos", content=b"--a--\r\n", headers=form).status_code == 422
    assert serving.service(client).jobs.count() == 0


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("mp4", "mpeg4"), ("mov", "mpeg4"), ("mkv", "libx264"), ("webm", "libvpx"), ("avi", "libx264"),
     ("ts", "mpeg2video"), ("mpg", "mpeg2video"), ("flv", "flv"), ("wmv", "wmv2"), ("gif", "gif")],
)  # fmt: skip
def test_every_common_kind_of_video_is_let_in(tmp_path, suffix, codec):
    if codec == "gif":
        path = tmp_path / "a.gif"
        frames = [Image.new("RGB", (32, 32), color) for color in ("red", "blue")]
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    else:
        path = serving.clip(tmp_path / f"a.{suffix}", 0.4, codec=codec)
    path = path.rename(tmp_path / "upload")
    assert examined(Source("video", str(path), path.name), 10**6).width >= 32


def test_a_list_of_other_files_is_not_followed(client, clip, tmp_path):
    """FFmpeg would open what a playlist names: other people's videos, and addresses inside."""
    playlist = (
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n"
        f"#EXTINF:1.0,\nfile://{clip}\n#EXT-X-ENDLIST\n"
    )
    (tmp_path / "clip.mp4").write_bytes(clip.read_bytes())
    concat = "ffconcat version 1.0\nfile 'clip.mp4'\n"
    sdp = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"
    dash = f'<?xml version="1.0"?><MPD><BaseURL>file://{clip}</BaseURL></MPD>'
    path = tmp_path / "upload"
    path.write_text(concat)
    assert video.probe(Source.parse(str(path))).width == 320  # which is what must not happen
    for text in (playlist, concat, sdp, dash):
        path.write_text(text)
        with pytest.raises(mien.UserError):
            examined(Source("video", str(path), path.name), 10**9)
        sent = client.post("/videos", content=text, headers={"content-type": "video/mp4"})
        job = ended(client, sent.json()["id"])
        assert (job["state"], job["frames"]) == ("failed", 0)
        client.delete(f"/videos/{job['id']}")


def test_frames_that_are_too_large_are_refused(client, clip, tiny_model):
    with serving.in_process(tiny_model, max_video_pixels=1000) as small:
        job = ended(small, post(small, clip))
        assert "320 x 180" in job["error"]
    with serving.in_process(tiny_model, max_video_bytes=1000) as small:
        kinds = {"content-type": "video/mp4"}
        assert small.post("/videos", content=b"x" * 1001, headers=kinds).status_code == 413
        assert small.post("/videos", files={"v": ("a.mp4", b"x" * 1001)}).status_code == 413
        assert list(serving.service(small).jobs._folder.path.glob("[!.]*")) == []


def test_jobs_are_private_bounded_and_gone_when_their_time_is_over(client, clip, long_clip):
    jobs = serving.service(client).jobs
    assert jobs._folder.path.stat().st_mode & 0o777 == 0o700
    first = post(client, long_clip, "?to=faces.jsonl")
    assert client.get(f"/videos/{first}/results/faces.jsonl").status_code == 409
    others = [post(client, clip, "?to=faces.jsonl") for _ in range(2)]
    # However long those before it take, none loses its turn.
    jobs.get(others[1]).until = time.monotonic() - 1
    assert {client.get(f"/videos/{one}").json()["state"] for one in others} == {"waiting"}
    refused = client.post("/videos", content=b"x", headers={"content-type": "video/mp4"})
    assert refused.status_code == 503
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    assert client.delete(f"/videos/{first}").status_code == 204
    assert {ended(client, one)["state"] for one in others} == {"done"}
    assert not (jobs._folder.path / first).exists()
    jobs.get(others[0]).until = time.monotonic() - 1
    assert client.get(f"/videos/{others[0]}").status_code == 404
    assert not (jobs._folder.path / others[0]).exists()
    assert [path.name for path in (jobs._folder.path / others[1]).iterdir()] == ["faces.jsonl"]


def test_names_of_results_lead_nowhere_else(client, clip):
    identity = post(client, clip, "?to=faces.jsonl")
    ended(client, identity)
    for name in ("..%2f..%2fetc%2fpasswd", "upload", "faces.jsonl%00", ".part"):
        assert client.get(f"/videos/{identity}/results/{name}").status_code == 404
    for other in ("..%2f..", "x" * 5000, "%00", "*"):
        assert client.get(f"/videos/{other}").status_code == 404


def test_a_bug_in_one_video_is_told_and_others_go_on(client, clip, monkeypatch):
    def broken(*_):
        raise RuntimeError("no")

    with monkeypatch.context() as patched:
        patched.setattr(video_analysis, "_unlinked", broken)
        job = ended(client, post(client, clip))
    assert (job["state"], "bug" in job["error"]) == ("failed", True)
    assert ended(client, post(client, clip, "?to=faces.csv"))["state"] == "done"


def test_a_folder_that_was_tidied_away_is_made_again(client, clip):
    gone = serving.service(client).jobs._folder.path
    shutil.rmtree(gone)
    assert ended(client, post(client, clip, "?to=faces.csv"))["state"] == "done"
    assert not gone.exists()


def test_a_job_that_wants_few_frames_can_be_stopped(client, long_clip, monkeypatch):
    decoded = video._pictures
    began = threading.Event()

    def slowly(*words, **more):
        for found in decoded(*words, **more):
            yield found
            began.set()
            time.sleep(0.1)

    monkeypatch.setattr(video, "_pictures", slowly)
    identity = post(client, long_clip, "?to=faces.jsonl&seconds=1000")
    assert began.wait(20)
    client.delete(f"/videos/{identity}")
    names = lambda: [thread.name for thread in threading.enumerate()]  # noqa: E731
    serving.wait_for(lambda: "decoder" not in names(), 10)  # whole, it would take a minute


def test_a_video_that_takes_too_long_is_given_up(tiny_model, long_clip):
    with serving.in_process(tiny_model, job_seconds=0.2) as client:
        job = serving.service(client).jobs.get(post(client, long_clip, "?to=faces.jsonl"))
        serving.wait_for(lambda: job.state == "failed")
        assert "takes longer" in job.error


def test_damage_is_noted(client, clip, tmp_path):
    cut = tmp_path / "cut.mp4"
    body = bytearray(clip.read_bytes())
    body[len(body) // 2 : len(body) // 2 + 4000] = bytes(4000)
    cut.write_bytes(body)
    job = ended(client, post(client, cut, "?to=faces.jsonl&name=cut.mp4"))
    if job["state"] == "done":
        assert all(note.startswith("cut.mp4 ") for note in job["notes"])


def test_nothing_is_left_when_the_service_ends(tiny_model, long_clip):
    with serving.in_process(tiny_model) as client:
        folder = serving.service(client).jobs._folder.path
        post(client, long_clip)
        post(client, long_clip)
        assert folder.exists()
    assert not folder.exists()


def test_what_a_killed_service_left_is_removed_by_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    killed, alive = Folder(), Folder()
    (killed.path / "video").mkdir()
    killed._lock.close()
    (tmp_path / "mien-serve-other").mkdir()
    last = Folder()
    assert not killed.path.exists()
    assert alive.path.exists()
    assert (tmp_path / "mien-serve-other").exists()
    alive.close()
    last.close()
    assert [path.name for path in tmp_path.iterdir()] == ["mien-serve-other"]


def test_a_full_disk_refuses_videos(client, clip, monkeypatch):
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(f"{HERE}.shutil.disk_usage", lambda _: usage)
    refused = client.post("/videos", content=b"x", headers={"content-type": "video/mp4"})
    assert (refused.status_code, "disk" in refused.json()["error"]) == (503, True)
