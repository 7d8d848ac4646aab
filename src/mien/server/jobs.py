"""All videos: a job each, in a private folder that is gone when its time is over."""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mien.errors import UserError
from mien.server.error_responses import Refused, busy
from mien.server.job import ENDED, Job, Stopped, Wanted
from mien.server.job_folders import Folder
from mien.server.metrics import Metrics
from mien.server.micro_batching import Analyzers
from mien.server.settings import Settings
from mien.server.video_analysis import watch

MIN_FREE = 2**30
"""Bytes that the disk must have left for another video."""


class Jobs:
    """All jobs; one or few run at a time, and only so many are kept."""

    def __init__(self, settings: Settings, analyzers: Analyzers, metrics: Metrics) -> None:
        self._settings, self._analyzers, self._metrics = settings, analyzers, metrics
        self._folder = Folder()
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(settings.max_running, "videos")

    def open(self, name: str, wanted: Wanted) -> Job:
        """A new job with an empty folder, to receive its video; refused with 503 if there are many.

        Raises `UserError` for a model or detector that is not there.
        """
        self._analyzers.take(*wanted.by())
        self.expire()
        with self._lock:
            if not self._folder.path.is_dir():  # who tidies up temporary files has taken it
                self._folder.close()
                self._folder = Folder()
        if shutil.disk_usage(self._folder.path).free < self._settings.max_video_bytes + MIN_FREE:
            raise busy("The disk is full", 30)
        self._forget_a_failed_one()
        with self._lock:
            if len(self._jobs) >= self._settings.max_jobs:
                soonest = min(job.until for job in self._jobs.values()) - time.monotonic()
                raise busy("There are as many videos as can be kept", soonest, most=soonest)
            # Nobody guesses an identity, so it is all that one needs to show.
            identity = secrets.token_urlsafe(18)
            folder = self._folder.path / identity
            folder.mkdir(mode=0o700)
            until = time.monotonic() + self._settings.job_seconds
            job = self._jobs[identity] = Job(identity, folder, name or "video", wanted, until)
        return job

    def start(self, job: Job) -> None:
        """Have a received video watched when it is its turn."""
        job.state = "waiting"
        self._pool.submit(self._run, job)

    def get(self, identity: str) -> Job:
        """The job of that id; refused with 404 if there is none."""
        self.expire()
        with self._lock:
            if identity not in self._jobs:
                raise Refused(404, "There is no such video; its time may be over.")
            return self._jobs[identity]

    def result(self, identity: str, name: str) -> Path:
        """The path of one result; refused with 404 if it is not there, 409 if not yet."""
        job = self.get(identity)
        if job.state not in ENDED:
            raise Refused(409, "This video is not done yet.", {"Retry-After": "1"})
        if name not in job.results():
            made = ", ".join(job.results()) or "nothing"
            raise Refused(404, f"There is no such result; this video has {made}.")
        return job.folder / name

    def remove(self, identity: str) -> None:
        """Forget a job, and all that it has on disk; what runs is stopped."""
        with self._lock:
            job = self._jobs.pop(identity, None)
        if job is not None:
            job.stop.set()
            job.state = "removed"
            shutil.rmtree(job.folder, ignore_errors=True)

    def expire(self) -> None:
        """Remove what has outlived its time."""
        with self._lock:
            known = [job for job in self._jobs.values() if job.state not in ("waiting", "running")]
            old = [job.id for job in known if job.until < time.monotonic()]
        for identity in old:
            self.remove(identity)

    def _forget_a_failed_one(self) -> None:
        """Make room for a new video, if there is none, at the cost of the first that failed."""
        with self._lock:
            failed = [job for job in self._jobs.values() if job.state == "failed"]
            if len(self._jobs) < self._settings.max_jobs or not failed:
                return
        self.remove(min(failed, key=lambda job: job.until).id)

    def count(self) -> int:
        """How many there are."""
        return len(self._jobs)

    def close(self) -> None:
        """Stop all, wait for them, and remove the folder."""
        for identity in list(self._jobs):
            self.remove(identity)
        self._pool.shutdown(cancel_futures=True)
        self._folder.close()

    def _run(self, job: Job) -> None:
        if job.stop.is_set():
            return
        job.state, state = "running", "failed"
        try:
            watch(job, self._analyzers.take(*job.wanted.by()), self._settings)
            state = "done"
        except Stopped:
            state = "removed"
        except UserError as error:
            job.error = str(error)
        except Exception:  # one video's bug is not the others'
            if not job.stop.is_set():
                logging.getLogger(__name__).exception("a video failed")
                job.error = "This video met a bug in mien; the service's log says more."
        finally:
            job.upload.unlink(missing_ok=True)
            if job.stop.is_set():
                # It may have written something after it was removed.
                shutil.rmtree(job.folder, ignore_errors=True)
            job.until = time.monotonic() + self._settings.job_seconds
            job.state = state
            self._metrics.videos.labels(state).inc()
