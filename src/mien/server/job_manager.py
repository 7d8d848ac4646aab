"""Create, queue, run, expire and delete video jobs."""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mien.errors import UserError
from mien.server.analyzer_cache import AnalyzerCache
from mien.server.error_responses import RequestError, service_unavailable
from mien.server.job import FINAL_STATES, Job, JobCancelled, JobOptions
from mien.server.metrics import Metrics
from mien.server.private_folder import PrivateFolder
from mien.server.settings import Settings
from mien.server.video_analysis import analyze_video

MIN_FREE_BYTES = 2**30
"""Disk space that must remain free after a video of the maximum size has been stored."""

FULL_RETRY_SECONDS = 30
"""`Retry-After` of a response that rejects a video because of too many jobs or a full disk."""


class JobManager:
    """Manages at most `max_jobs` jobs, of which at most `max_running_jobs` run at the same time.

    Thread-safe.

    Args:
        settings: Settings with the limits of jobs.
        analyzers: Analyzers for the videos.
        metrics: Metrics in which ended jobs are counted.
    """

    def __init__(self, settings: Settings, analyzers: AnalyzerCache, metrics: Metrics) -> None:
        self._settings, self._analyzers, self._metrics = settings, analyzers, metrics
        self._folder = PrivateFolder()
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        # Held while a job is deleted to make room and the new one is added, so that no concurrent
        # request takes the free place. `_lock` cannot be held, because `delete` acquires it.
        self._creation_lock = threading.Lock()
        self._pool = ThreadPoolExecutor(settings.max_running_jobs, "videos")

    def create(self, name: str, options: JobOptions, client: str = "") -> Job:
        """Create a job with an empty folder, in state "receiving".

        If the maximum number of jobs is reached, the new job replaces a failed job, otherwise a
        finished one, otherwise one with a slow upload. If the client already has half of the
        maximum number of jobs in state "receiving", the new job replaces a slow one of these.

        Args:
            name: File name of the video; may be empty.
            options: Options for the analysis.
            client: IP address of the client; for IPv6, its /64 network.

        Raises:
            RequestError: 503 if no job can be replaced, or too little disk space is free.
            UserError: The model or detector is unknown.
        """
        self._analyzers.get(*options.analyzer_key())  # an error if the model or detector is unknown
        self.delete_expired()
        with self._lock:
            if not self._folder.path.is_dir():  # the system may remove old temporary files
                self._folder.close()
                self._folder = PrivateFolder()
        free_bytes = shutil.disk_usage(self._folder.path).free
        if free_bytes < self._settings.max_video_bytes + MIN_FREE_BYTES:
            raise service_unavailable(
                "The server has too little free disk space for a video", FULL_RETRY_SECONDS
            )
        with self._creation_lock:
            self._evict(client)
            return self._add_job(name, options, client)

    def _add_job(self, name: str, options: JobOptions, client: str) -> Job:
        with self._lock:
            if len(self._jobs) >= self._settings.max_jobs:
                raise service_unavailable(
                    f"The server already has the maximum of {self._settings.max_jobs} unfinished "
                    "videos",
                    FULL_RETRY_SECONDS,
                )
            # The id must be unguessable, because it gives access to the job.
            job_id = secrets.token_urlsafe(18)
            folder = self._folder.path / job_id
            folder.mkdir(mode=0o700)
            expires_at = time.monotonic() + self._settings.job_lifetime_seconds
            job = self._jobs[job_id] = Job(job_id, folder, name or "video", options, expires_at)
            job.client = client
        return job

    def queue(self, job: Job) -> None:
        """Queue a job whose video has been received."""
        job.state = "queued"
        self._pool.submit(self._run, job)

    def get(self, job_id: str) -> Job:
        """Return the job with this id; raise a 404 `RequestError` if it does not exist."""
        self.delete_expired()
        with self._lock:
            if job_id not in self._jobs:
                raise RequestError(404, "Video not found; it may have expired. Upload it again.")
            return self._jobs[job_id]

    def result_file_path(self, job_id: str, name: str) -> Path:
        """Return the path of a result file.

        Raises:
            RequestError: 404 if the job or the file does not exist, 409 if the analysis of the
                video has not ended.
        """
        job = self.get(job_id)
        if job.state not in FINAL_STATES:
            raise RequestError(
                409, "The video is not analyzed yet; try again in 1 s.", {"Retry-After": "1"}
            )
        if name not in job.result_files():
            names = ", ".join(job.result_files()) or "none"
            raise RequestError(404, f"Result file not found. Result files of this video: {names}.")
        return job.folder / name

    def delete(self, job_id: str) -> None:
        """Cancel a job and delete its files; do nothing if the job does not exist."""
        with self._lock:
            job = self._jobs.pop(job_id, None)
        if job is not None:
            job.stop_event.set()
            job.state = "deleted"
            shutil.rmtree(job.folder, ignore_errors=True)

    def delete_expired(self) -> None:
        """Delete the jobs that have ended and expired."""
        now = time.monotonic()
        with self._lock:
            expired = [
                job.id
                for job in self._jobs.values()
                if job.state in FINAL_STATES and job.expires_at < now
            ]
        for job_id in expired:
            self.delete(job_id)

    def _evict(self, client: str) -> None:
        """Delete a job, if possible, when one more job of this client would exceed a limit.

        Raises:
            RequestError: 503 if the client has too many uploads and none of them is slow.
        """
        with self._lock:
            jobs = list(self._jobs.values())
        receiving = [job for job in jobs if job.state == "receiving"]
        own_uploads = [job for job in receiving if job.client == client]
        if len(own_uploads) >= max(1, self._settings.max_jobs // 2):
            slow_upload = _slowest_upload(own_uploads)
            if slow_upload is None:
                raise service_unavailable(f"You are already uploading {len(own_uploads)} videos")
            self.delete(slow_upload.id)
        elif len(jobs) >= self._settings.max_jobs:
            ended = [job for job in jobs if job.state in FINAL_STATES]
            job_counts = Counter(job.client for job in jobs)
            # Failed jobs first, then those of the client with the most jobs, then the oldest.
            evicted = min(
                ended,
                key=lambda job: (job.state != "failed", -job_counts[job.client], job.expires_at),
                default=_slowest_upload(receiving),
            )
            if evicted is not None:
                self.delete(evicted.id)

    def count(self) -> int:
        """Return the number of jobs in any state."""
        return len(self._jobs)

    def close(self) -> None:
        """Cancel all jobs, wait until no analysis is running, and remove the folder."""
        for job_id in list(self._jobs):
            self.delete(job_id)
        self._pool.shutdown(cancel_futures=True)
        self._folder.close()

    def _run(self, job: Job) -> None:
        if job.stop_event.is_set():
            return
        job.state, final_state = "running", "failed"
        try:
            analyze_video(job, self._analyzers.get(*job.options.analyzer_key()), self._settings)
            final_state = "done"
        except JobCancelled:
            pass
        except UserError as error:
            job.error = str(error)
        except Exception:
            # Errors of a deleted job are expected, since its files are gone; others are bugs.
            if not job.stop_event.is_set():
                logging.getLogger(__name__).exception("A video job failed because of a bug")
                job.error = "The analysis failed because of a bug in mien; see the server's log."
        finally:
            job.upload_path.unlink(missing_ok=True)
            if job.stop_event.is_set():
                final_state, job.error = "deleted", ""
                # Files may have been written after the job was deleted.
                shutil.rmtree(job.folder, ignore_errors=True)
            job.expires_at = time.monotonic() + self._settings.job_lifetime_seconds
            job.state = final_state
            self._metrics.videos.labels(final_state).inc()


def _slowest_upload(jobs: list[Job]) -> Job | None:
    """Return the job whose upload has been slow for the longest time; None if none is slow."""
    slow_jobs = [job for job in jobs if job.upload_speed.is_slow()]
    return min(slow_jobs, key=lambda job: job.upload_speed.fast_until, default=None)
