// Pictures: dropped, pasted or chosen; read one after the other; saved with what was found.

import { COLOURS, COLUMNS, LANDMARKS } from "./constants.js";
import { $, button, canvasOf, count, encoded, make, save, say } from "./elements.js";
import { foldButton, percent, showFaces } from "./faces.js";
import { askPatiently, query } from "./service.js";

const MANY = 5;                 // faces from which on one wants to open all at once

let shown = [];                 // newest first: what `place` makes, with a `record` or a `trouble` in time

const isPicture = (file) => file.type.startsWith("image/");

export async function takePictures(files) {
  const added = [...files].filter((file) => isPicture(file) || !file.type).map(place);
  if (!added.length) return say("That is no picture.", true);
  shown = [...added, ...shown];
  $("pictures").prepend(...added.map((one) => one.element));
  await readAll(added);
}

export const readAgain = () => shown.length && readAll(shown);

// A picture's place on the page, before anything is known of it.
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
    stage.style.setProperty("--ratio", image.naturalWidth / image.naturalHeight));
  const told = make("div", moment);
  return { file, name, element, about, actions, stage, image, told };
}

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

// Make a picture wait for its turn; the signal says when it is no longer to be read.
function wait(one) {
  one.reading?.abort();
  one.reading = new AbortController();
  one.record = one.trouble = null;
  one.element.setAttribute("aria-busy", "true");
  one.about.textContent = "";
  one.actions.replaceChildren();
  button("Remove", one.actions, () => remove(one), "quiet").ariaLabel = `Remove ${one.name}`;
  one.stage.querySelectorAll(".box").forEach((box) => box.remove());
  const line = make("p", null, { kind: "wait" });
  make("progress", line, { ariaLabel: `Reading ${one.name}` });
  one.progress = make("span", line, { text: "Waiting for its turn …" });
  one.told.replaceChildren(line);
  return one.reading.signal;
}

async function read(one, signal) {
  say(`Reading ${one.name} …`);
  one.progress.textContent = "Reading …";
  try {
    const record = await askPatiently(`analyze?${query()}`, { method: "POST", body: one.file, signal,
      headers: { "Content-Type": one.file.type || "application/octet-stream" } },
      () => { one.progress.textContent = "The service is busy; trying again …"; });
    show(one, { ...record, source: one.name });
  } catch (error) {
    if (!signal.aborted) showTrouble(one, error.message);
  }
}

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
  one.actions.append(one.actions.firstChild);
  showActions();
}

function showTrouble(one, message) {
  one.trouble = message;
  one.element.removeAttribute("aria-busy");
  const line = make("div", null, { kind: "trouble" });
  make("p", line, { text: message });
  button("Try again", line, () => readAll([one]), "quiet").ariaLabel = `Try again with ${one.name}`;
  one.told.replaceChildren(line);
}

// What has become of some pictures, for those who do not see them.
function tell(pictures) {
  const good = pictures.filter((one) => one.record), bad = pictures.filter((one) => one.trouble);
  const faces = good.reduce((sum, one) => sum + one.record.faces.length, 0);
  const read = `${count(good.length, "picture")}, ${faces ? count(faces, "face") : "no face"}.`;
  if (!bad.length) return say(read);
  const failed = bad.length === 1 ? `${bad[0].name}: ${bad[0].trouble}` : `${bad.length} could not be read.`;
  say(good.length ? `${read} ${failed}` : failed, true);
}

function remove(...gone) {
  for (const one of gone) {
    one.reading.abort();
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

function rows({ faces, ...common }) {
  if (!faces.length) return [common];
  return faces.map(({ box: [x, y, w, h], emotions, flags, landmarks, ...face }) =>
    ({ ...common, ...face, x, y, w, h, ...emotions, flags: flags.join(" "), ...placed(landmarks) }));
}

function placed(landmarks) {
  const points = (landmarks ?? []).map(([x, y], place) => [LANDMARKS[place], x, y]);
  return Object.fromEntries(points.flatMap(([name, x, y]) => [[`${name}_x`, x], [`${name}_y`, y]]));
}

function cell(value = "") {
  return /[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value;
}

function saveTable() {
  const lines = [COLUMNS, ...records().flatMap(rows).map((row) => COLUMNS.map((name) => cell(row[name])))];
  save("faces.csv", new Blob(lines.map((line) => `${line.join(",")}\n`), { type: "text/csv" }));
}

async function saveDrawn(one) {
  if (!one.image.naturalWidth) return say(`This browser cannot show ${one.name}, nor draw on it.`, true);
  const body = await encoded(drawn(one), "image/png");
  if (!body) return say(`${one.name} is too large for this browser to draw.`, true);
  save(`${one.name.replace(/\.\w+$/, "")}-faces.png`, body);
}

function drawn({ image, record: { width, height, faces } }) {
  const canvas = canvasOf(image, width, height);
  const pen = canvas.getContext("2d");
  const most = Math.max(12, Math.max(width, height) / 60);
  const sizeOf = ({ box: [, , w] }) => Math.max(most / 2, Math.min(most, w / 7));
  pen.textBaseline = "middle";
  for (const face of faces) drawBox(pen, face, sizeOf(face));
  for (const face of faces) drawLabel(pen, face, sizeOf(face), width);
  return canvas;
}

function drawBox(pen, { box, dominant_emotion: most }, size) {
  for (const [colour, wide] of [["#000a", size / 4], [COLOURS[most], size / 7]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = wide;
    pen.strokeRect(...box);
  }
}

function drawLabel(pen, { face_id: id, box: [x, y], emotions, dominant_emotion: most, flags }, size, width) {
  const text = `${id}  ${most} ${percent(emotions[most])}${flags.length ? " ?" : ""}`;
  pen.font = `600 ${size}px system-ui, sans-serif`;
  const high = 1.5 * size, wide = pen.measureText(text).width + size;
  const left = Math.max(0, Math.min(x, width - wide)), top = Math.max(0, y - high);
  pen.fillStyle = "#101418e0";
  pen.fillRect(left, top, wide, high);
  pen.fillStyle = COLOURS[most];
  pen.fillText(text, left + size / 2, top + high / 2);
}

$("files").addEventListener("change", (event) => {
  takePictures([...event.target.files]);
  event.target.value = "";
});
$("as-csv").addEventListener("click", saveTable);
$("as-json").addEventListener("click", () =>
  save("faces.json", new Blob([JSON.stringify(records(), null, 1)], { type: "application/json" })));
$("clear").addEventListener("click", () => remove(...shown));
