// The image tab analyzes images, shows the faces, and saves the results.

/** @import { Face, FrameRecord } from "./types" */

import { annotate } from "./annotate.js";
import { queryParameters, retryWhileBusy } from "./api.js";
import { COLUMNS, LANDMARKS } from "./constants.js";
import { $, clearMessages, encodeCanvas, errorMessage, formatCount, make, makeButton, saveFile, showError, showStatus }
  from "./dom.js";
import { makeOpenAllButton, showFaces } from "./faces.js";

const MIN_FACES_FOR_OPEN_ALL = 5; // minimum number of faces for the button that opens all cards

/**
 * An image on the page. After the analysis it has a frame record or an error.
 * @typedef {{ file: File, name: string, element: HTMLElement, summary: HTMLElement, actions: HTMLElement,
 *   viewer: HTMLElement, image: HTMLImageElement, output: HTMLElement, progress?: HTMLElement,
 *   controller?: AbortController, record?: FrameRecord, error?: string }} ImageEntry
 */

/** @type {ImageEntry[]} */
let entries = [];                 // the newest entry is first

/** @param {File} file */
const isImage = (file) => file.type.startsWith("image/");

/**
 * Analyze images. Files without a type are included: browsers do not know some formats, such as HEIC.
 * @param {Iterable<File>} files
 */
export async function addImages(files) {
  const addedEntries = [...files].filter((file) => isImage(file) || !file.type).map(makeEntry);
  if (!addedEntries.length) return showError("This is not an image. Choose an image file, such as JPEG or PNG.");
  entries = [...addedEntries, ...entries];
  $("images").prepend(...addedEntries.map((entry) => entry.element));
  await analyzeAll(addedEntries);
}

export const analyzeAgain = () => entries.length && analyzeAll(entries);

/** @type {(file: File) => ImageEntry} */
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

/** @param {ImageEntry[]} selectedEntries */
async function analyzeAll(selectedEntries) {
  const queued = selectedEntries.map((entry) => ({ entry, signal: markQueued(entry) }));
  updateActions();
  for (const { entry, signal } of queued) if (!signal.aborted) await analyze(entry, signal);
  const analyzedEntries = queued.filter(({ signal }) => !signal.aborted).map(({ entry }) => entry);
  if (analyzedEntries.length) announceResults(analyzedEntries);
}

function updateActions() {
  $("image-actions").hidden = !entries.length;
  for (const id of ["save-csv", "save-json"]) $(id).disabled = !records().length;
}

/**
 * Mark an entry as queued. The returned signal is aborted when the entry is removed or analyzed again.
 * @param {ImageEntry} entry
 */
function markQueued(entry) {
  entry.controller?.abort();
  entry.controller = new AbortController();
  entry.record = entry.error = undefined;
  entry.element.setAttribute("aria-busy", "true");
  entry.summary.textContent = "";
  entry.actions.replaceChildren();
  makeButton("Remove", entry.actions, () => removeEntries(entry)).ariaLabel = `Remove ${entry.name}`;
  for (const box of entry.viewer.querySelectorAll(".box")) box.remove();
  const row = make("p", null, { className: "progress" });
  make("progress", row, { ariaLabel: `Analyzing ${entry.name}` });
  entry.progress = make("span", row, { text: "Queued …" });
  entry.output.replaceChildren(row);
  return entry.controller.signal;
}

/**
 * @param {ImageEntry} entry
 * @param {AbortSignal} signal
 */
async function analyze(entry, signal) {
  showStatus(`Analyzing ${entry.name} …`);
  showProgress(entry, "Analyzing …");
  try {
    const record = await retryWhileBusy(`analyze?${queryParameters()}`, { method: "POST", body: entry.file, signal,
      headers: { "Content-Type": entry.file.type || "application/octet-stream" } },
      () => showProgress(entry, "The server is busy; retrying …"));
    showResult(entry, { ...record, source: entry.name });
  } catch (error) {
    if (!signal.aborted) showEntryError(entry, errorMessage(error));
  }
}

/** @type {(entry: ImageEntry, text: string) => void} */
const showProgress = ({ progress }, text) => { if (progress) progress.textContent = text; };

/**
 * @param {ImageEntry} entry
 * @param {FrameRecord} record
 */
function showResult(entry, record) {
  entry.record = record;
  entry.element.removeAttribute("aria-busy");
  const { faces, width, height, model } = record;
  const faceCount = faces.length ? formatCount(faces.length, "face") : "no face";
  entry.summary.textContent = `${width} × ${height}, ${faceCount}; model ${model}`;
  entry.image.alt = `${entry.name}, ${faceCount} detected`;
  const list = make("div", null, { className: "faces" });
  entry.output.replaceChildren(list);
  if (!faces.length) make("p", list, { className: "hint", text: "No face detected. Faces that are small, covered " +
    "or in profile may be missed." });
  showFaces(list, entry.viewer, record);
  if (faces.length >= MIN_FACES_FOR_OPEN_ALL) makeOpenAllButton(list, entry.actions);
  if (faces.length) {
    const saveButton = makeButton("Save image", entry.actions, () => saveAnnotated(entry));
    saveButton.ariaLabel = `Save image ${entry.name} with annotated faces`;
  }
  if (entry.actions.firstChild) entry.actions.append(entry.actions.firstChild); // "Remove" is the last button
  updateActions();
}

/**
 * @param {ImageEntry} entry
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
 * Summarize the results in the status line, for screen readers.
 * @param {ImageEntry[]} analyzedEntries
 */
function announceResults(analyzedEntries) {
  const succeeded = analyzedEntries.filter((entry) => entry.record);
  const failed = analyzedEntries.filter((entry) => entry.error);
  const faces = succeeded.reduce((sum, entry) => sum + (entry.record?.faces.length ?? 0), 0);
  const results = `${formatCount(succeeded.length, "image")}, ${faces ? formatCount(faces, "face") : "no face"}.`;
  if (!failed.length) return showStatus(results);
  const errors = failed.length === 1 ? `${failed[0].name}: ${failed[0].error}` : `${failed.length} images failed.`;
  showError(succeeded.length ? `${results} ${errors}` : errors);
}

/** @param {ImageEntry[]} removedEntries */
function removeEntries(...removedEntries) {
  for (const entry of removedEntries) {
    entry.controller?.abort();
    URL.revokeObjectURL(entry.image.src);
    entry.element.remove();
  }
  entries = entries.filter((entry) => !removedEntries.includes(entry));
  updateActions();
  clearMessages();
  $("image-files").focus();
}

const records = () => entries.flatMap((entry) => entry.record || []);

/**
 * Return one row per face; without faces, one with empty face columns. The columns are those of mien's other tables,
 * without smoothed shares.
 * @type {(record: FrameRecord) => Record<string, any>[]}
 */
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
  const byteOrderMark = /[\u0080-\uffff]/.test(text) ? "\ufeff" : "";
  saveFile("faces.csv", new Blob([byteOrderMark, text], { type: "text/csv" }));
}

function saveJson() {
  saveFile("faces.json", new Blob([JSON.stringify(records(), null, 1)], { type: "application/json" }));
}

/** @param {ImageEntry} entry */
async function saveAnnotated(entry) {
  if (!entry.record) return;
  if (!entry.image.naturalWidth) {
    return showError(`This browser cannot display ${entry.name}. Convert it to JPEG or PNG to annotate it.`);
  }
  const body = await encodeCanvas(annotate(entry.image, entry.record), "image/png");
  if (!body) return showError(`${entry.name} is too large for this browser to annotate. Use a smaller image.`);
  saveFile(`${entry.name.replace(/\.\w+$/, "")}-faces.png`, body);
}

$("image-files").addEventListener("change", (/** @type {any} */ event) => {
  addImages([...event.target.files]);
  event.target.value = "";
});
$("save-csv").addEventListener("click", saveCsv);
$("save-json").addEventListener("click", saveJson);
$("remove-all").addEventListener("click", () => removeEntries(...entries));
