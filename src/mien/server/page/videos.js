// The video tab uploads a video, polls its job, shows the timeline and saves the result files.

/** @import { Job } from "./types" */

import { queryParameters, request, retryWhileUnavailable, upload } from "./api.js";
import { RESULT_FILES } from "./constants.js";
import { $, clearMessages, errorMessage, formatCount, makeButton, saveFile, showError, showStatus, sleep }
  from "./dom.js";

const POLL_MILLISECONDS = 500;
const STORAGE_KEY = "mien-video";       // key under which the job id is stored, so that a reload of the page keeps it

/**
 * The video on the page. It has no file after a reload of the page, and no job id until it is uploaded.
 * @typedef {{ file?: File, ignoredCount?: number, id?: string, controller: AbortController }} VideoEntry
 */

/** @type {VideoEntry | null} */
let currentEntry = null;

/** @param {File} file */
export const isVideo = (file) => file.type.startsWith("video/") || /\.(mkv|avi|mov|mp4|webm)$/i.test(file.name);

/**
 * Upload a video and show its progress and results; it replaces the video that is shown.
 * @param {File} file
 * @param {number} ignoredCount  number of other videos that were chosen at the same time
 */
export async function addVideo(file, ignoredCount = 0) {
  if (file.type && !isVideo(file)) return showError("This is not a video. Choose a video file, such as MP4.");
  await removeCurrentEntry();
  const entry = showEntry({ file, ignoredCount, controller: new AbortController() }, file.name);
  try {
    /** @type {Job} */
    const job = await upload(`videos?${queryParameters({ name: file.name })}`, file, showUploadProgress,
      entry.controller.signal);
    entry.id = job.id;
    sessionStorage.setItem(STORAGE_KEY, job.id);
    await pollJob(entry);
  } catch (error) {
    if (!entry.controller.signal.aborted) showFailure(entry, errorMessage(error));
  }
}

/** Show the last video again after the page is reloaded, if the server still stores its job. */
export async function restore() {
  const id = sessionStorage.getItem(STORAGE_KEY);
  if (!id || currentEntry) return;
  const entry = showEntry({ id, controller: new AbortController() }, "Your video");
  try {
    await pollJob(entry);
  } catch {
    if (currentEntry === entry) await removeCurrentEntry();
  }
}

/** @type {(entry: VideoEntry, name: string) => VideoEntry} */
function showEntry(entry, name) {
  currentEntry = entry;
  clearMessages();
  $("job-name").textContent = name;
  $("job-result-files").replaceChildren();
  for (const id of ["job-retry", "timeline"]) $(id).hidden = true;
  for (const id of ["job", "job-progress"]) $(id).hidden = false;
  $("job-delete").textContent = "Stop";
  showProgress(entry.file ? "Uploading …" : "Loading …");
  return entry;
}

/**
 * Show the progress; the bar is indeterminate without a fraction.
 * @param {string} text
 * @param {number} [fraction]
 */
function showProgress(text, fraction) {
  $("job-status").textContent = text;
  if (fraction === undefined) $("job-progress").removeAttribute("value");
  else $("job-progress").value = fraction;
}

/**
 * Format a fraction as a percentage, rounded down so that 100 % is shown only at the end.
 * @param {number} fraction
 */
const wholePercent = (fraction) => `${Math.floor(100 * fraction)}\u202f%`;

/** @param {number} fraction */
const showUploadProgress = (fraction) => (fraction < 1 ? showProgress(`Uploading: ${wholePercent(fraction)}`, fraction)
  : showProgress("Uploaded; the server is checking the file …"));

/** @param {Job} job */
function showJobProgress({ state, progress, frames }) {
  if (state !== "running") return showProgress("Queued; the server is analyzing other videos …");
  showProgress(`Analyzing: ${wholePercent(progress)}, ${formatCount(frames, "frame")}`, progress);
}

/**
 * Show the progress until the job is done, then its result files. Throw an error if the job fails; stop if the video is
 * removed.
 * @param {VideoEntry} entry
 */
async function pollJob(entry) {
  const { signal } = entry.controller;
  while (!signal.aborted) {
    /** @type {Job} */
    const job = await retryWhileUnavailable(`videos/${entry.id}`, { signal });
    $("job-name").textContent = job.name;
    if (job.error) throw new Error(job.error);
    if (job.state === "done") return showResultFiles(job, entry);
    showJobProgress(job);
    await sleep(POLL_MILLISECONDS);
  }
}

/**
 * @param {Job} job
 * @param {VideoEntry} entry
 */
async function showResultFiles(job, { ignoredCount, controller: { signal } }) {
  const minutes = Math.round(job.expires_in_seconds / 60);
  $("job-progress").hidden = true;
  $("job-delete").textContent = "Delete";
  $("job-status").textContent = [`${formatCount(job.frames, "frame")} analyzed.`, ...job.warnings,
    ...(ignoredCount ? [`${formatCount(ignoredCount, "other video")} ignored; choose one at a time.`] : []),
    `The server stores the result files for ${formatCount(minutes, "minute")} or until you delete them.`].join(" ");
  for (const [name, description] of Object.entries(RESULT_FILES)) {
    if (!job.result_files.includes(name)) continue;
    makeButton(`Save ${description}`, $("job-result-files"), () => saveResultFile(job.id, name));
  }
  if (job.result_files.includes("page.html")) {
    showTimeline(await retryWhileUnavailable(`videos/${job.id}/results/page.html`, { signal }, "text"));
  }
  showStatus(`${job.name} is analyzed.`);
}

/**
 * Show the HTML timeline in a sandboxed frame. CSS estimates its height from the number of faces.
 * @param {string} html
 */
function showTimeline(html) {
  const timelineDocument = new DOMParser().parseFromString(html, "text/html");
  const { faces } = JSON.parse(timelineDocument.getElementById("data")?.textContent ?? "");
  $("timeline").style.setProperty("--face-count", Math.max(1, faces.length));
  $("timeline").srcdoc = html;
  $("timeline").hidden = false;
}

/**
 * @param {string} id
 * @param {string} name
 */
async function saveResultFile(id, name) {
  try {
    showStatus("Downloading …");
    saveFile(name, await request(`videos/${id}/results/${name}`, {}, "blob"));
    clearMessages();
  } catch (error) {
    showError(errorMessage(error));
  }
}

/**
 * Show an error and delete the job, but keep the file, so that the upload can be tried again.
 * @param {VideoEntry} entry
 * @param {string} message
 */
function showFailure(entry, message) {
  $("job-progress").hidden = true;
  $("job-status").textContent = "";
  $("job-retry").hidden = !entry.file;
  $("job-delete").textContent = "Remove";
  showError(`${$("job-name").textContent}: ${message}`);
  deleteJob(entry);
}

/**
 * Delete the job on the server. If the request fails, the server deletes the job when it expires.
 * @param {VideoEntry} entry
 */
async function deleteJob({ id }) {
  sessionStorage.removeItem(STORAGE_KEY);
  if (id) await request(`videos/${id}`, { method: "DELETE" }).catch(() => {});
}

async function removeCurrentEntry() {
  if (!currentEntry) return;
  const entry = currentEntry;
  currentEntry = null;
  entry.controller.abort();
  $("job").hidden = true;
  $("timeline").removeAttribute("srcdoc");
  clearMessages();
  await deleteJob(entry);
}

$("video-file").addEventListener("change", (/** @type {any} */ { target }) => {
  const [file] = target.files;
  target.value = "";
  if (file) addVideo(file);
});
$("job-retry").addEventListener("click", () => currentEntry?.file && addVideo(currentEntry.file));
$("job-delete").addEventListener("click", () => {
  $("video-file").focus();
  removeCurrentEntry();
});
