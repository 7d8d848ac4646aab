// The image tab: analyze images one after another, show the faces, save the results.

/** @import { Face, FrameRecord } from "./types" */

import { annotate } from "./annotate.js";
import { query, requestWhenFree } from "./api.js";
import { COLUMNS, LANDMARKS } from "./constants.js";
import { $, clearMessages, count, errorMessage, make, makeButton, saveFile, showError, showStatus, toBlob } from "./dom.js";
import { makeOpenAllButton, showFaces } from "./faces.js";

const MIN_FACES_OPEN_ALL = 5;   // from this number of faces, one button opens all cards

/**
 * An image on the page; it gets a record or an error once it has been analyzed.
 * @typedef {{ file: File, name: string, element: HTMLElement, summary: HTMLElement, actions: HTMLElement,
 *   viewer: HTMLElement, image: HTMLImageElement, output: HTMLElement, progress?: HTMLElement,
 *   controller?: AbortController, record?: FrameRecord, error?: string }} Entry
 */

/** @type {Entry[]} */
let entries = [];               // newest first

/** @param {File} file */
const isImage = (file) => file.type.startsWith("image/");

/** @param {Iterable<File>} files */
export async function addImages(files) {
  const added = [...files].filter((file) => isImage(file) || !file.type).map(makeEntry);
  if (!added.length) return showError("This is not an image. Choose an image file, such as JPEG or PNG.");
  entries = [...added, ...entries];
  $("images").prepend(...added.map((entry) => entry.element));
  await analyzeAll(added);
}

export const analyzeAgain = () => entries.length && analyzeAll(entries);

/** @type {(file: File) => Entry} */
function makeEntry(file) {
  const name = file.name || "pasted image";
  const element = make("article", null, { className: "image-entry" });
  const heading = make("div", element, { className: "heading" });
  const title = make("div", heading);
  make("h2", title, { text: name });
  const summary = make("p", title, { className: "hint" });
  const actions = make("div", heading, { className: "actions" });
  const columns = make("div", element, { className: "columns" });
  const viewer = make("div", columns, { className: "viewer" });
  const image = make("img", viewer, { alt: name, src: URL.createObjectURL(file) });
  image.addEventListener("error", () => viewer.classList.add("unsupported"));
  image.addEventListener("load", () =>
    viewer.style.setProperty("--aspect-ratio", `${image.naturalWidth / image.naturalHeight}`));
  const output = make("div", columns);
  return { file, name, element, summary, actions, viewer, image, output };
}

/** @param {Entry[]} selected */
async function analyzeAll(selected) {
  const queue = selected.map((entry) => ({ entry, signal: enqueue(entry) }));
  updateActions();
  for (const { entry, signal } of queue) if (!signal.aborted) await analyze(entry, signal);
  const finished = queue.filter(({ signal }) => !signal.aborted).map(({ entry }) => entry);
  if (finished.length) announceResults(finished);
}

function updateActions() {
  $("image-actions").hidden = !entries.length;
  for (const id of ["save-csv", "save-json"]) $(id).disabled = !records().length;
}

/**
 * Reset an entry to the state "waiting"; the signal is aborted when it is removed or analyzed again.
 * @param {Entry} entry
 */
function enqueue(entry) {
  entry.controller?.abort();
  entry.controller = new AbortController();
  entry.record = entry.error = undefined;
  entry.element.setAttribute("aria-busy", "true");
  entry.summary.textContent = "";
  entry.actions.replaceChildren();
  makeButton("Remove", entry.actions, () => remove(entry)).ariaLabel = `Remove ${entry.name}`;
  for (const box of entry.viewer.querySelectorAll(".box")) box.remove();
  const row = make("p", null, { className: "progress" });
  make("progress", row, { ariaLabel: `Analyzing ${entry.name}` });
  entry.progress = make("span", row, { text: "Waiting …" });
  entry.output.replaceChildren(row);
  return entry.controller.signal;
}

/**
 * @param {Entry} entry
 * @param {AbortSignal} signal
 */
async function analyze(entry, signal) {
  showStatus(`Analyzing ${entry.name} …`);
  showProgress(entry, "Analyzing …");
  try {
    const record = await requestWhenFree(`analyze?${query()}`, { method: "POST", body: entry.file, signal,
      headers: { "Content-Type": entry.file.type || "application/octet-stream" } },
      () => showProgress(entry, "The server is busy; retrying …"));
    showResult(entry, { ...record, source: entry.name });
  } catch (error) {
    if (!signal.aborted) showEntryError(entry, errorMessage(error));
  }
}

/** @type {(entry: Entry, text: string) => void} */
const showProgress = ({ progress }, text) => { if (progress) progress.textContent = text; };

/**
 * @param {Entry} entry
 * @param {FrameRecord} record
 */
function showResult(entry, record) {
  entry.record = record;
  entry.element.removeAttribute("aria-busy");
  const { faces, width, height, model } = record;
  const faceCount = faces.length ? count(faces.length, "face") : "no face";
  entry.summary.textContent = `${width} × ${height}, ${faceCount}; model ${model}`;
  entry.image.alt = `${entry.name}, ${faceCount} detected`;
  const list = make("div", null, { className: "faces" });
  entry.output.replaceChildren(list);
  if (!faces.length) make("p", list, { className: "hint", text: "No face detected. Faces that are small, covered " +
    "or in profile can be missed." });
  showFaces(list, entry.viewer, record);
  if (faces.length >= MIN_FACES_OPEN_ALL) makeOpenAllButton(list, entry.actions);
  if (faces.length) {
    const saveButton = makeButton("Save image", entry.actions, () => saveAnnotated(entry));
    saveButton.ariaLabel = `Save image ${entry.name} with annotated faces`;
  }
  if (entry.actions.firstChild) entry.actions.append(entry.actions.firstChild);
  updateActions();
}

/**
 * @param {Entry} entry
 * @param {string} message
 */
function showEntryError(entry, message) {
  entry.error = message;
  entry.element.removeAttribute("aria-busy");
  const row = make("div", null, { className: "error" });
  make("p", row, { text: message });
  makeButton("Try again", row, () => analyzeAll([entry])).ariaLabel = `Try again with ${entry.name}`;
  entry.output.replaceChildren(row);
}

/**
 * Sum up the results in the status line, for screen readers.
 * @param {Entry[]} finished
 */
function announceResults(finished) {
  const succeeded = finished.filter((entry) => entry.record), failed = finished.filter((entry) => entry.error);
  const faces = succeeded.reduce((sum, entry) => sum + (entry.record?.faces.length ?? 0), 0);
  const results = `${count(succeeded.length, "image")}, ${faces ? count(faces, "face") : "no face"}.`;
  if (!failed.length) return showStatus(results);
  const errors = failed.length === 1 ? `${failed[0].name}: ${failed[0].error}` : `${failed.length} images failed.`;
  showError(succeeded.length ? `${results} ${errors}` : errors);
}

/** @param {Entry[]} removed */
function remove(...removed) {
  for (const entry of removed) {
    entry.controller?.abort();
    URL.revokeObjectURL(entry.image.src);
    entry.element.remove();
  }
  entries = entries.filter((entry) => !removed.includes(entry));
  updateActions();
  clearMessages();
  $("image-files").focus();
}

// Saved files have the same columns as other tables of mien, without those that only videos have.

const records = () => entries.flatMap((entry) => entry.record || []);

/** @type {(record: FrameRecord) => Record<string, any>[]} */
function tableRows({ faces, ...common }) {
  if (!faces.length) return [common];
  return faces.map(({ box: [x, y, w, h], emotions, flags, landmarks, ...face }) =>
    ({ ...common, ...face, x, y, w, h, ...emotions, flags: flags.join(" "), ...landmarkColumns(landmarks) }));
}

/** @param {Face["landmarks"]} landmarks */
function landmarkColumns(landmarks) {
  return Object.fromEntries((landmarks ?? []).flatMap(([x, y], index) =>
    [[`${LANDMARKS[index]}_x`, x], [`${LANDMARKS[index]}_y`, y]]));
}

/** @param {string | number} value */
function csvCell(value = "") {
  return /[",\r\n]/.test(`${value}`) ? `"${String(value).replaceAll('"', '""')}"` : value;
}

function saveCsv() {
  const rows = records().flatMap(tableRows).map((row) => COLUMNS.map((name) => csvCell(row[name])));
  const text = [COLUMNS, ...rows].map((cells) => `${cells.join(",")}\n`).join("");
  // Excel recognizes UTF-8 only by a byte order mark.
  const mark = /[\u0080-\uffff]/.test(text) ? "\ufeff" : "";
  saveFile("faces.csv", new Blob([mark, text], { type: "text/csv" }));
}

function saveJson() {
  saveFile("faces.json", new Blob([JSON.stringify(records(), null, 1)], { type: "application/json" }));
}

/** @param {Entry} entry */
async function saveAnnotated(entry) {
  if (!entry.record) return;
  if (!entry.image.naturalWidth) return showError(`This browser cannot display ${entry.name} and cannot annotate it.`);
  const body = await toBlob(annotate(entry.image, entry.record), "image/png");
  if (!body) return showError(`${entry.name} is too large to annotate in this browser.`);
  saveFile(`${entry.name.replace(/\.\w+$/, "")}-faces.png`, body);
}

$("image-files").addEventListener("change", (/** @type {any} */ event) => {
  addImages([...event.target.files]);
  event.target.value = "";
});
$("save-csv").addEventListener("click", saveCsv);
$("save-json").addEventListener("click", saveJson);
$("remove-all").addEventListener("click", () => remove(...entries));
