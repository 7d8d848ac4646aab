"""Video jobs: created, queued, analyzed, expired and deleted."""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mien.errors import UserError
from mien.server.error_responses import RequestError, service_unavailable
from mien.server.job import FINAL_STATES, Job, JobCancelled, JobOptions
from mien.server.job_folders import PrivateFolder
from mien.server.metrics import Metrics
from mien.server.micro_batching import AnalyzerCache
from mien.server.settings import Settings
from mien.server.video_analysis import analyze_video

MIN_FREE_BYTES = 2**30
"""Disk space that must remain free after a video of maximal size."""

DISK_FULL_RETRY_SECONDS = 30


class JobManager:
    """All jobs, at most `max_jobs`; at most `max_running_jobs` are analyzed at once."""

    def __init__(self, settings: Settings, analyzers: AnalyzerCache, metrics: Metrics) -> None:
        self._settings, self._analyzers, self._metrics = settings, analyzers, metrics
        self._folder = PrivateFolder()
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(settings.max_running_jobs, "videos")

    def create(self, name: str, options: JobOptions) -> Job:
        """Create a job with an empty folder, in state "receiving".

        Raises:
            RequestError: 503 if there are too many jobs, or the disk is full.
            UserError: the model or detector is unknown.
        """
        self._analyzers.get(*options.analyzer_key())
        self.delete_expired()
        with self._lock:
            if not self._folder.path.is_dir():  # removed by a cleaner of temporary files
                self._folder.close()
                self._folder = PrivateFolder()
        free_bytes = shutil.disk_usage(self._folder.path).free
        if free_bytes < self._settings.max_video_bytes + MIN_FREE_BYTES:
            raise service_unavailable("The service's disk is full", DISK_FULL_RETRY_SECONDS)
        self._evict_failed_job()
        with self._lock:
            if len(self._jobs) >= self._settings.max_jobs:
                first_expiry = min(job.expires_at for job in self._jobs.values())
                seconds = first_expiry - time.monotonic()
                raise service_unavailable(
                    f"The service stores {self._settings.max_jobs} videos, which is its maximum",
                    seconds,
                    max_retry_seconds=seconds,
                )
            # Unguessable, because knowing the id gives access to the job.
            job_id = secrets.token_urlsafe(18)
            folder = self._folder.path / job_id
            folder.mkdir(mode=0o700)
            expires_at = time.monotonic() + self._settings.job_lifetime_seconds
            job = self._jobs[job_id] = Job(job_id, folder, name or "video", options, expires_at)
        return job

    def enqueue(self, job: Job) -> None:
        """Queue a job whose video has been received."""
        job.state = "waiting"
        self._pool.submit(self._run, job)

    def get(self, job_id: str) -> Job:
        """The job of that id; a 404 `RequestError` if it does not exist."""
        self.delete_expired()
        with self._lock:
            if job_id not in self._jobs:
                raise RequestError(
                    404, "Video not found; it may have expired. Send the video again."
                )
            return self._jobs[job_id]

    def result_path(self, job_id: str, name: str) -> Path:
        """The path of a result file.

        Raises:
            RequestError: 404 if the job or the file does not exist, 409 if the job is not done.
        """
        job = self.get(job_id)
        if job.state not in FINAL_STATES:
            raise RequestError(
                409, "The video is not done yet; try again in 1 s.", {"Retry-After": "1"}
            )
        if name not in job.results():
            names = ", ".join(job.results()) or "none"
            raise RequestError(404, f"Result not found. Results of this video: {names}.")
        return job.folder / name

    def delete(self, job_id: str) -> None:
        """Cancel a job and delete its files; does nothing if it does not exist."""
        with self._lock:
            job = self._jobs.pop(job_id, None)
        if job is not None:
            job.stop.set()
            job.state = "deleted"
            shutil.rmtree(job.folder, ignore_errors=True)

    def delete_expired(self) -> None:
        """Delete the expired jobs that have ended."""
        now = time.monotonic()
        with self._lock:
            expired = [
                job.id
                for job in self._jobs.values()
                if job.state in FINAL_STATES and job.expires_at < now
            ]
        for job_id in expired:
            self.delete(job_id)

    def _evict_failed_job(self) -> None:
        """If the maximum is reached, delete the oldest failed job."""
        with self._lock:
            failed = [job for job in self._jobs.values() if job.state == "failed"]
            if len(self._jobs) < self._settings.max_jobs or not failed:
                return
        self.delete(min(failed, key=lambda job: job.expires_at).id)

    def count(self) -> int:
        """The number of jobs in any state."""
        return len(self._jobs)

    def close(self) -> None:
        """Cancel all jobs, wait until they have stopped, and remove the folder."""
        for job_id in list(self._jobs):
            self.delete(job_id)
        self._pool.shutdown(cancel_futures=True)
        self._folder.close()

    def _run(self, job: Job) -> None:
        if job.stop.is_set():
            return
        job.state, final_state = "running", "failed"
        try:
            analyze_video(job, self._analyzers.get(*job.options.analyzer_key()), self._settings)
            final_state = "done"
        except JobCancelled:
            final_state = "deleted"
        except UserError as error:
            job.error = str(error)
        except Exception:  # a bug met in one video must not stop the others
            if not job.stop.is_set():
                logging.getLogger(__name__).exception("A video job failed with a bug")
                job.error = "The analysis failed because of a bug in mien; see the service's log."
        finally:
            job.upload_path.unlink(missing_ok=True)
            if job.stop.is_set():
                # Files may have been written after the job was deleted.
                shutil.rmtree(job.folder, ignore_errors=True)
            job.expires_at = time.monotonic() + self._settings.job_lifetime_seconds
            job.state = final_state
            self._metrics.videos.labels(final_state).inc()
