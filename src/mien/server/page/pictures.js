// Pictures: dropped, pasted or chosen; read one after the other; saved with what was found.

/** @import { Face, FrameRecord } from "./types" */

import { COLORS, COLUMNS, LANDMARKS } from "./constants.js";
import { $, button, canvasOf, count, encoded, make, messageOf, penOf, save, say } from "./elements.js";
import { foldButton, percent, showFaces } from "./faces.js";
import { askPatiently, query } from "./service.js";

const MANY = 5;                 // faces from which on one wants to open all at once

/**
 * A picture's place on the page, in time with a record or a trouble.
 * @typedef {{ file: File, name: string, element: HTMLElement, about: HTMLElement, actions: HTMLElement,
 *   stage: HTMLElement, image: HTMLImageElement, told: HTMLElement, progress?: HTMLElement,
 *   reading?: AbortController, record?: FrameRecord, trouble?: string }} Shown
 */

/** @type {Shown[]} */
let shown = [];                 // newest first

/** @param {File} file */
const isPicture = (file) => file.type.startsWith("image/");

/** @param {Iterable<File>} files */
export async function takePictures(files) {
  const added = [...files].filter((file) => isPicture(file) || !file.type).map(place);
  if (!added.length) return say("That is no picture.", true);
  shown = [...added, ...shown];
  $("pictures").prepend(...added.map((one) => one.element));
  await readAll(added);
}

export const readAgain = () => shown.length && readAll(shown);

/** @type {(file: File) => Shown} */
function place(file) {
  const name = file.name || "pasted picture";
  const element = make("article", null, { kind: "shown" });
  const head = make("div", element, { kind: "head" });
  const title = make("div", head);
  make("h2", title, { text: name });
  const about = make("p", title, { kind: "hint" });
  const actions = make("div", head, { kind: "actions" });
  const moment = make("div", element, { kind: "moment" });
  const stage = make("div", moment, { kind: "stage" });
  const image = make("img", stage, { alt: name, src: URL.createObjectURL(file) });
  image.addEventListener("error", () => stage.classList.add("unseen"));
  image.addEventListener("load", () =>
    stage.style.setProperty("--ratio", `${image.naturalWidth / image.naturalHeight}`));
  const told = make("div", moment);
  return { file, name, element, about, actions, stage, image, told };
}

/** @param {Shown[]} pictures */
async function readAll(pictures) {
  const waiting = pictures.map((one) => ({ one, signal: wait(one) }));
  showActions();
  for (const { one, signal } of waiting) if (!signal.aborted) await read(one, signal);
  const mine = waiting.filter(({ signal }) => !signal.aborted).map(({ one }) => one);
  if (mine.length) tell(mine);
}

function showActions() {
  $("picture-actions").hidden = !shown.length;
  for (const id of ["as-csv", "as-json"]) $(id).disabled = !records().length;
}

/**
 * Make a picture wait for its turn; the signal says when it is no longer to be read.
 * @param {Shown} one
 */
function wait(one) {
  one.reading?.abort();
  one.reading = new AbortController();
  one.record = one.trouble = undefined;
  one.element.setAttribute("aria-busy", "true");
  one.about.textContent = "";
  one.actions.replaceChildren();
  button("Remove", one.actions, () => remove(one), "quiet").ariaLabel = `Remove ${one.name}`;
  for (const box of one.stage.querySelectorAll(".box")) box.remove();
  const line = make("p", null, { kind: "wait" });
  make("progress", line, { ariaLabel: `Reading ${one.name}` });
  one.progress = make("span", line, { text: "Waiting for its turn …" });
  one.told.replaceChildren(line);
  return one.reading.signal;
}

/**
 * @param {Shown} one
 * @param {AbortSignal} signal
 */
async function read(one, signal) {
  say(`Reading ${one.name} …`);
  tellProgress(one, "Reading …");
  try {
    const record = await askPatiently(`analyze?${query()}`, { method: "POST", body: one.file, signal,
      headers: { "Content-Type": one.file.type || "application/octet-stream" } },
      () => tellProgress(one, "The service is busy; trying again …"));
    show(one, { ...record, source: one.name });
  } catch (error) {
    if (!signal.aborted) showTrouble(one, messageOf(error));
  }
}

/** @type {(one: Shown, text: string) => void} */
const tellProgress = ({ progress }, text) => { if (progress) progress.textContent = text; };

/**
 * @param {Shown} one
 * @param {FrameRecord} record
 */
function show(one, record) {
  one.record = record;
  one.element.removeAttribute("aria-busy");
  const { faces, width, height, model } = record;
  one.about.textContent = `${width} × ${height}, ${faces.length ? count(faces.length, "face") : "no face"}; ` +
    `model ${model}`;
  one.image.alt = `${one.name}, with ${faces.length ? count(faces.length, "face") : "no face"} found`;
  const list = make("div", null, { kind: "faces" });
  one.told.replaceChildren(list);
  if (!faces.length) make("p", list, { kind: "hint", text: "No face was found. One that is small, turned away " +
    "or covered may be missed." });
  showFaces(list, one.stage, record);
  if (faces.length >= MANY) foldButton(list, one.actions);
  if (faces.length) {
    const draw = button("Save picture", one.actions, () => saveDrawn(one), "quiet");
    draw.ariaLabel = `Save picture ${one.name} with its faces drawn on it`;
  }
  if (one.actions.firstChild) one.actions.append(one.actions.firstChild);
  showActions();
}

/**
 * @param {Shown} one
 * @param {string} message
 */
function showTrouble(one, message) {
  one.trouble = message;
  one.element.removeAttribute("aria-busy");
  const line = make("div", null, { kind: "trouble" });
  make("p", line, { text: message });
  button("Try again", line, () => readAll([one]), "quiet").ariaLabel = `Try again with ${one.name}`;
  one.told.replaceChildren(line);
}

/**
 * What has become of some pictures, for those who do not see them.
 * @param {Shown[]} pictures
 */
function tell(pictures) {
  const good = pictures.filter((one) => one.record), bad = pictures.filter((one) => one.trouble);
  const faces = good.reduce((sum, one) => sum + (one.record?.faces.length ?? 0), 0);
  const read = `${count(good.length, "picture")}, ${faces ? count(faces, "face") : "no face"}.`;
  if (!bad.length) return say(read);
  const failed = bad.length === 1 ? `${bad[0].name}: ${bad[0].trouble}` : `${bad.length} could not be read.`;
  say(good.length ? `${read} ${failed}` : failed, true);
}

/** @param {Shown[]} gone */
function remove(...gone) {
  for (const one of gone) {
    one.reading?.abort();
    URL.revokeObjectURL(one.image.src);
    one.element.remove();
  }
  shown = shown.filter((one) => !gone.includes(one));
  showActions();
  say("");
  $("files").focus();
}

// What is saved: the same columns as everywhere in mien, but for what only a video has.

const records = () => shown.flatMap((one) => one.record || []);

/** @type {(record: FrameRecord) => Record<string, any>[]} */
function rows({ faces, ...common }) {
  if (!faces.length) return [common];
  return faces.map(({ box: [x, y, w, h], emotions, flags, landmarks, ...face }) =>
    ({ ...common, ...face, x, y, w, h, ...emotions, flags: flags.join(" "), ...placed(landmarks) }));
}

/** @param {Face["landmarks"]} landmarks */
function placed(landmarks) {
  return Object.fromEntries((landmarks ?? []).flatMap(([x, y], place) =>
    [[`${LANDMARKS[place]}_x`, x], [`${LANDMARKS[place]}_y`, y]]));
}

/** @param {string | number} value */
function cell(value = "") {
  return /[",\r\n]/.test(`${value}`) ? `"${String(value).replaceAll('"', '""')}"` : value;
}

function saveTable() {
  const lines = [COLUMNS, ...records().flatMap(rows).map((row) => COLUMNS.map((name) => cell(row[name])))];
  save("faces.csv", new Blob(lines.map((line) => `${line.join(",")}\n`), { type: "text/csv" }));
}

/** @param {Shown} one */
async function saveDrawn(one) {
  if (!one.record) return;
  if (!one.image.naturalWidth) return say(`This browser cannot show ${one.name}, nor draw on it.`, true);
  const body = await encoded(drawn(one.image, one.record), "image/png");
  if (!body) return say(`${one.name} is too large for this browser to draw.`, true);
  save(`${one.name.replace(/\.\w+$/, "")}-faces.png`, body);
}

/**
 * @param {HTMLImageElement} image
 * @param {FrameRecord} record
 */
function drawn(image, { width, height, faces }) {
  const canvas = canvasOf(image, width, height);
  const pen = penOf(canvas);
  const most = Math.max(12, Math.max(width, height) / 60);
  /** @param {Face} face */
  const sizeOf = ({ box: [, , w] }) => Math.max(most / 2, Math.min(most, w / 7));
  pen.textBaseline = "middle";
  for (const face of faces) drawBox(pen, face, sizeOf(face));
  for (const face of faces) drawLabel(pen, face, sizeOf(face), width);
  return canvas;
}

/** @type {(pen: CanvasRenderingContext2D, face: Face, size: number) => void} */
function drawBox(pen, { box, dominant_emotion: most }, size) {
  for (const { colour, wide } of [{ colour: "#000a", wide: size / 4 }, { colour: COLORS[most], wide: size / 7 }]) {
    pen.strokeStyle = colour;
    pen.lineWidth = wide;
    pen.strokeRect(...box);
  }
}

/** @type {(pen: CanvasRenderingContext2D, face: Face, size: number, width: number) => void} */
function drawLabel(pen, { face_id: id, box: [x, y], emotions, dominant_emotion: most, flags }, size, width) {
  const text = `${id}  ${most} ${percent(emotions[most])}${flags.length ? " ?" : ""}`;
  pen.font = `600 ${size}px system-ui, sans-serif`;
  const high = 1.5 * size, wide = pen.measureText(text).width + size;
  const left = Math.max(0, Math.min(x, width - wide)), top = Math.max(0, y - high);
  pen.fillStyle = "#101418e0";
  pen.fillRect(left, top, wide, high);
  pen.fillStyle = COLORS[most];
  pen.fillText(text, left + size / 2, top + high / 2);
}

$("files").addEventListener("change", (/** @type {any} */ event) => {
  takePictures([...event.target.files]);
  event.target.value = "";
});
$("as-csv").addEventListener("click", saveTable);
$("as-json").addEventListener("click", () =>
  save("faces.json", new Blob([JSON.stringify(records(), null, 1)], { type: "application/json" })));
$("clear").addEventListener("click", () => remove(...shown));
