// The video tab: upload a video, poll its job, show the timeline and offer the result files.

/** @import { Job } from "./types" */

import { query, request, requestWhenOnline, upload } from "./api.js";
import { RESULT_FILES } from "./constants.js";
import { $, clearMessages, count, errorMessage, makeButton, saveFile, showError, showStatus, sleep } from "./dom.js";

const POLL_MILLISECONDS = 500;
const STORAGE_KEY = "mien-video";       // the job id survives a reload of the page

/** @typedef {{ file?: File, ignored?: number, id?: string, controller: AbortController }} Entry */

/** @type {Entry | null} */
let current = null;

/** @param {File} file */
export const isVideo = (file) => file.type.startsWith("video/") || /\.(mkv|avi|mov|mp4|webm)$/i.test(file.name);

/**
 * @param {File} file
 * @param {number} ignored  how many other videos were chosen with it
 */
export async function addVideo(file, ignored = 0) {
  if (file.type && !isVideo(file)) return showError("This is not a video. Choose a video file, such as MP4.");
  await removeCurrent();
  const entry = show({ file, ignored, controller: new AbortController() }, file.name);
  try {
    /** @type {Job} */
    const job = await upload(`videos?${query({ name: file.name })}`, file, showUpload, entry.controller.signal);
    entry.id = job.id;
    sessionStorage.setItem(STORAGE_KEY, job.id);
    await poll(entry);
  } catch (error) {
    if (!entry.controller.signal.aborted) showFailure(entry, errorMessage(error));
  }
}

// Show the last video again after the page was reloaded, if the server still has it.
export async function restore() {
  const id = sessionStorage.getItem(STORAGE_KEY);
  if (!id || current) return;
  const entry = show({ id, controller: new AbortController() }, "Your video");
  try {
    await poll(entry);
  } catch {
    if (current === entry) await removeCurrent();
  }
}

/** @type {(entry: Entry, name: string) => Entry} */
function show(entry, name) {
  current = entry;
  clearMessages();
  $("job-name").textContent = name;
  $("job-results").replaceChildren();
  for (const id of ["job-retry", "timeline"]) $(id).hidden = true;
  for (const id of ["job", "job-progress"]) $(id).hidden = false;
  $("job-delete").textContent = "Stop";
  showProgress("Uploading …");
  return entry;
}

/**
 * Without a fraction, the progress bar is indeterminate.
 * @param {string} text
 * @param {number} [fraction]
 */
function showProgress(text, fraction) {
  $("job-status").textContent = text;
  if (fraction === undefined) $("job-progress").removeAttribute("value");
  else $("job-progress").value = fraction;
}

// Rounded down, so that 100 % is shown only at the end.
/** @param {number} fraction */
const wholePercent = (fraction) => `${Math.floor(100 * fraction)}\u202f%`;

/** @param {number} fraction */
const showUpload = (fraction) => (fraction < 1 ? showProgress(`Uploading: ${wholePercent(fraction)}`, fraction)
  : showProgress("Uploaded; the server is checking the file …"));

/** @param {Job} job */
function showAnalysis({ state, progress, frames }) {
  if (state !== "running") return showProgress("Waiting for other videos to finish …");
  showProgress(`Analyzing: ${wholePercent(progress)}, ${count(frames, "frame")}`, progress);
}

/** @param {Entry} entry */
async function poll(entry) {
  const { signal } = entry.controller;
  while (!signal.aborted) {
    /** @type {Job} */
    const job = await requestWhenOnline(`videos/${entry.id}`, { signal });
    $("job-name").textContent = job.name;
    if (job.error) throw new Error(job.error);
    if (job.state === "done") return showResults(job, entry);
    showAnalysis(job);
    await sleep(POLL_MILLISECONDS);
  }
}

/**
 * @param {Job} job
 * @param {Entry} entry
 */
async function showResults(job, { ignored, controller: { signal } }) {
  const minutes = Math.round(job.expires_in_seconds / 60);
  $("job-progress").hidden = true;
  $("job-delete").textContent = "Delete";
  $("job-status").textContent = [`${count(job.frames, "frame")} analyzed.`, ...job.warnings,
    ...(ignored ? [`Only one video at a time: ${count(ignored, "other")} ignored.`] : []),
    `The server keeps the results for ${count(minutes, "minute")} or until you delete them.`].join(" ");
  for (const [name, text] of Object.entries(RESULT_FILES)) {
    if (job.result_files.includes(name)) makeButton(`Save ${text}`, $("job-results"), () => saveResult(job.id, name));
  }
  if (job.result_files.includes("page.html")) {
    showTimeline(await requestWhenOnline(`videos/${job.id}/results/page.html`, { signal }, "text"));
  }
  showStatus(`${job.name} is analyzed.`);
}

/**
 * Show the timeline page in a sandboxed frame; CSS estimates its height from the number of faces.
 * @param {string} html
 */
function showTimeline(html) {
  const page = new DOMParser().parseFromString(html, "text/html");
  const { faces } = JSON.parse(page.getElementById("data")?.textContent ?? "");
  $("timeline").style.setProperty("--face-count", Math.max(1, faces.length));
  $("timeline").srcdoc = html;
  $("timeline").hidden = false;
}

/**
 * @param {string} id
 * @param {string} name
 */
async function saveResult(id, name) {
  try {
    showStatus("Downloading …");
    saveFile(name, await request(`videos/${id}/results/${name}`, {}, "blob"));
    clearMessages();
  } catch (error) {
    showError(errorMessage(error));
  }
}

/**
 * @param {Entry} entry
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
 * Delete the job on the server. If the request fails, the job expires there.
 * @param {Entry} entry
 */
async function deleteJob({ id }) {
  sessionStorage.removeItem(STORAGE_KEY);
  if (id) await request(`videos/${id}`, { method: "DELETE" }).catch(() => {});
}

async function removeCurrent() {
  if (!current) return;
  const entry = current;
  current = null;
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
$("job-retry").addEventListener("click", () => current?.file && addVideo(current.file));
$("job-delete").addEventListener("click", () => {
  $("video-file").focus();
  removeCurrent();
});
