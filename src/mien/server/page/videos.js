// A video: it is sent, waits for its turn, is watched; then there is a timeline, and files.

/** @import { Job } from "./types" */

import { RESULTS } from "./constants.js";
import { $, button, count, messageOf, pause, save, say } from "./elements.js";
import { ask, askUntilAnswered, query, send } from "./service.js";

const LOOK = 500;               // milliseconds between two looks at how far it is
const KEPT = "mien-video";      // where its id is kept while this page is reloaded

/** @typedef {{ file?: File, others?: number, id?: string, reading: AbortController }} Shown */

/** @type {Shown | null} */
let job = null;                 // the one that is shown

/** @param {File} file */
export const isVideo = (file) => file.type.startsWith("video/") || /\.(mkv|avi|mov|mp4|webm)$/i.test(file.name);

/** @param {File} file */
export async function takeVideo(file, others = 0) {
  if (file.type && !isVideo(file)) return say("That is no video.", true);
  await forget();
  const mine = begin({ file, others, reading: new AbortController() }, file.name);
  try {
    /** @type {Job} */
    const told = await send(`videos?${query({ name: file.name })}`, file, tellSent, mine.reading.signal);
    mine.id = told.id;
    sessionStorage.setItem(KEPT, told.id);
    await watch(mine);
  } catch (error) {
    if (!mine.reading.signal.aborted) fail(mine, messageOf(error));
  }
}

// Go on with the video of before, if the page was reloaded while the service has it.
export async function takeUp() {
  const id = sessionStorage.getItem(KEPT);
  if (!id || job) return;
  const mine = begin({ id, reading: new AbortController() }, "Your video");
  try {
    await watch(mine);
  } catch {
    if (job === mine) await forget();
  }
}

/** @type {(one: Shown, name: string) => Shown} */
function begin(one, name) {
  job = one;
  say("");
  $("job-name").textContent = name;
  $("job-results").replaceChildren();
  for (const id of ["job-again", "timeline"]) $(id).hidden = true;
  for (const id of ["job", "job-bar"]) $(id).hidden = false;
  $("job-stop").textContent = "Stop";
  tellShare("Sending …");
  return one;
}

/**
 * A share that is unknown leaves the bar moving to and fro.
 * @param {string} text
 * @param {number} [share]
 */
function tellShare(text, share) {
  $("job-state").textContent = text;
  if (share === undefined) $("job-bar").removeAttribute("value");
  else $("job-bar").value = share;
}

/** @param {number} share */
const whole = (share) => `${Math.floor(100 * share)} %`;

/** @param {number} share */
const tellSent = (share) => (share < 1 ? tellShare(`Sending: ${whole(share)}`, share)
  : tellShare("Sent; the service looks at it …"));

/** @param {Job} job */
function tellWatched({ state, progress, frames }) {
  if (state !== "running") return tellShare("Waiting for its turn …");
  tellShare(`Watching: ${whole(progress)}, ${count(frames, "frame")}`, progress);
}

/** @param {Shown} mine */
async function watch(mine) {
  const { signal } = mine.reading;
  while (!signal.aborted) {
    /** @type {Job} */
    const told = await askUntilAnswered(`videos/${mine.id}`, { signal });
    $("job-name").textContent = told.name;
    if (told.error) throw new Error(told.error);
    if (told.state === "done") return showResults(told, mine);
    tellWatched(told);
    await pause(LOOK);
  }
}

/**
 * @param {Job} told
 * @param {Shown} mine
 */
async function showResults(told, { others, reading: { signal } }) {
  const minutes = Math.round(told.expires_in_seconds / 60);
  $("job-bar").hidden = true;
  $("job-stop").textContent = "Forget it";
  $("job-state").textContent = [`${count(told.frames, "frame")}.`, ...told.warnings,
    ...(others ? [`One video at a time: ${count(others, "other")} left out.`] : []),
    `The service keeps the results for ${count(minutes, "minute")}, or until you have it forget them.`].join(" ");
  for (const [name, text] of Object.entries(RESULTS)) {
    if (told.results.includes(name)) button(`Save ${text}`, $("job-results"), () => saveResult(told.id, name), "quiet");
  }
  if (told.results.includes("page.html")) {
    showTimeline(await askUntilAnswered(`videos/${told.id}/results/page.html`, { signal }, "text"));
  }
  say(`${told.name} has been watched.`);
}

/**
 * It stands in a frame that may do nothing but run its own script, so its height must be guessed.
 * @param {string} text
 */
function showTimeline(text) {
  const page = new DOMParser().parseFromString(text, "text/html");
  const { faces } = JSON.parse(page.getElementById("data")?.textContent ?? "");
  $("timeline").style.setProperty("--lanes", Math.max(1, faces.length));
  $("timeline").srcdoc = text;
  $("timeline").hidden = false;
}

/**
 * @param {string} id
 * @param {string} name
 */
async function saveResult(id, name) {
  try {
    say("Fetching …");
    save(name, await ask(`videos/${id}/results/${name}`, {}, "blob"));
    say("");
  } catch (error) {
    say(messageOf(error), true);
  }
}

/**
 * @param {Shown} failed
 * @param {string} message
 */
function fail(failed, message) {
  $("job-bar").hidden = true;
  $("job-state").textContent = "";
  $("job-again").hidden = !failed.file;
  $("job-stop").textContent = "Remove";
  say(`${$("job-name").textContent}: ${message}`, true);
  drop(failed);
}

/**
 * Have the service forget a video; if it does not hear, the video's time ends by itself.
 * @param {Shown} one
 */
async function drop(one) {
  sessionStorage.removeItem(KEPT);
  if (one.id) await ask(`videos/${one.id}`, { method: "DELETE" }).catch(() => {});
}

async function forget() {
  if (!job) return;
  const gone = job;
  job = null;
  gone.reading.abort();
  $("job").hidden = true;
  $("timeline").removeAttribute("srcdoc");
  say("");
  await drop(gone);
}

$("video-file").addEventListener("change", (/** @type {any} */ { target }) => {
  const [file] = target.files;
  target.value = "";
  if (file) takeVideo(file);
});
$("job-again").addEventListener("click", () => job?.file && takeVideo(job.file));
$("job-stop").addEventListener("click", () => {
  $("video-file").focus();
  forget();
});
