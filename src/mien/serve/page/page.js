"use strict";
// The page that `mien serve` offers: pictures, a camera, a video. It calls the same paths as anybody.

const COLOURS = { angry: "#e2574c", disgust: "#8fb339", fear: "#a481d9", happy: "#f2c14e",
  sad: "#5aa5e8", surprise: "#f2914a", neutral: "#c3c8cd", contempt: "#d98cb3" };
const COLUMNS = ["source", "frame", "seconds", "width", "height", "model", "detector", "face_id", "x", "y",
  "w", "h", "face_confidence", "dominant_emotion", ...Object.keys(COLOURS), "flags"];
const FRAME = 640;             // pixels of the longer side of what a camera sends
const SVG = "http://www.w3.org/2000/svg";

const $ = (id) => document.getElementById(id);

function make(name, text, within, kind) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  if (within) within.append(element);
  return element;
}

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

// Asking the service.

let token = sessionStorage.getItem("mien-token") || "";

async function ask(path, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { ...headers, ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The service does not answer. Is it still running?");
  }
  if (answer.status === 401) {
    $("token-form").hidden = false;
    $("token").focus();
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw new Error(told.error || told.detail || `The service answered ${answer.status}.`);
  }
  return answer;
}

const query = (more = {}) => new URLSearchParams({ model: $("model").value, ...more });

async function fillModels() {
  const known = await (await ask("models")).json();
  $("model").replaceChildren();
  for (const one of known.models) {
    const option = make("option", one.name, $("model"));
    option.value = one.name;
    option.title = one.means;
    option.selected = one.name === known.default;
  }
}

$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  sessionStorage.setItem("mien-token", token);
  $("token-form").hidden = true;
  say("");
  fillModels().catch((error) => say(error.message, true));
});

// Faces, as cards with bars and as boxes over a picture.

const strongest = (emotions) => Object.keys(emotions).reduce((a, b) => (emotions[b] > emotions[a] ? b : a));
const flagged = { too_small: "too small to trust", blurred: "blurred", low_confidence: "perhaps no face" };

function card(face, within, emotions = face.smoothed || face.emotions) {
  const most = strongest(emotions);
  const one = make("article", undefined, within, "face");
  one.style.setProperty("--c", COLOURS[most]);
  make("h3", `Face ${face.face_id + 1}: ${most} ${(100 * emotions[most]).toFixed(0)} %`, one);
  if (face.flags.length) make("p", face.flags.map((flag) => flagged[flag] || flag).join(", "), one);
  const bars = make("dl", undefined, one, "bars");
  for (const [name, share] of Object.entries(emotions)) {
    const kind = name === most ? "most" : "";
    make("dt", name, bars, kind);
    make("dd", `${(100 * share).toFixed(1)} %`, bars, kind);
    const bar = make("i", undefined, make("dd", undefined, bars));
    bar.style.width = `${100 * share}%`;
    bar.style.setProperty("--c", COLOURS[name]);
  }
  return one;
}

function boxes(stage, width, height, faces) {
  let drawing = stage.querySelector("svg");
  if (!drawing) {
    drawing = document.createElementNS(SVG, "svg");
    drawing.setAttribute("aria-hidden", "true");
    stage.append(drawing);
  }
  drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
  drawing.setAttribute("preserveAspectRatio", "xMidYMid meet");
  drawing.replaceChildren();
  const line = Math.max(width, height) / 300;
  for (const face of faces) {
    const [x, y, w, h] = face.box;
    for (const [colour, thick] of [["#000a", 2.2 * line], [COLOURS[strongest(face.smoothed || face.emotions)], line]]) {
      const box = document.createElementNS(SVG, "rect");
      const values = { x, y, width: Math.max(w, 0), height: Math.max(h, 0), rx: 2 * line, fill: "none",
        stroke: colour, "stroke-width": thick };
      for (const [key, value] of Object.entries(values)) box.setAttribute(key, value);
      drawing.append(box);
    }
    const name = document.createElementNS(SVG, "text");
    name.textContent = face.face_id + 1;
    const style = { x: x + 2 * line, y: y - 2 * line, fill: "#fff", stroke: "#000", "stroke-width": line,
      "paint-order": "stroke", "font-size": 9 * line, "font-weight": 700 };
    for (const [key, value] of Object.entries(style)) name.setAttribute(key, value);
    drawing.append(name);
  }
}

// Pictures.

const shown = [];               // {name, address, record}

async function readPictures(files) {
  const pictures = [...files].filter((file) => file.type.startsWith("image/") || !file.type);
  if (!pictures.length) return say("That is no picture.", true);
  let faces = 0, done = 0;
  for (const file of pictures) {
    say(`Reading ${file.name || "the picture"} …`);
    try {
      const answer = await ask(`analyze?${query()}`, { method: "POST", body: file,
        headers: { "Content-Type": file.type || "application/octet-stream" } });
      const told = await answer.json();
      const record = Array.isArray(told) ? told[0] : told.records ? told.records[0] : told;
      record.source = file.name || "pasted picture";
      await showPicture(file, record);
      faces += record.faces.length;
      done += 1;
    } catch (error) {
      say(`${file.name || "The picture"}: ${error.message}`, true);
      return;
    }
  }
  say(`${done} ${done === 1 ? "picture" : "pictures"}, ${faces} ${faces === 1 ? "face" : "faces"}.`);
}

async function showPicture(file, record) {
  const address = URL.createObjectURL(file);
  shown.unshift({ name: record.source, address, record });
  const one = make("div", undefined, undefined, "shown");
  make("h2", record.source, one);
  const moment = make("div", undefined, one, "moment");
  const stage = make("div", undefined, moment, "stage");
  const image = make("img", undefined, stage);
  image.alt = `${record.source}, with ${record.faces.length} faces found`;
  image.src = address;
  await image.decode().catch(() => {});
  boxes(stage, record.width, record.height, record.faces);
  const faces = make("div", undefined, moment, "faces");
  for (const face of record.faces) card(face, faces);
  if (!record.faces.length) make("p", "No face found.", faces);
  $("pictures").prepend(one);
  $("picture-actions").hidden = false;
}

$("files").addEventListener("change", (event) => {
  readPictures(event.target.files);
  event.target.value = "";
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length && !$("picture").hidden) readPictures(event.clipboardData.files);
});
for (const [place, take] of [["drop", readPictures], ["video-drop", (files) => readVideo(files[0])]]) {
  for (const kind of ["dragenter", "dragover"]) {
    $(place).addEventListener(kind, (event) => { event.preventDefault(); $(place).classList.add("over"); });
  }
  for (const kind of ["dragleave", "drop"]) {
    $(place).addEventListener(kind, (event) => { event.preventDefault(); $(place).classList.remove("over"); });
  }
  $(place).addEventListener("drop", (event) => event.dataTransfer.files.length && take(event.dataTransfer.files));
}

function save(name, body) {
  const link = make("a");
  link.href = URL.createObjectURL(body);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const cell = (value) => {
  const text = value === undefined || value === null ? "" : String(value);
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

function rows({ record }) {
  const { faces, ...common } = record;
  if (!faces.length) return [common];
  return faces.map((face) => {
    const [x, y, w, h] = face.box;
    return { ...common, face_id: face.face_id, x, y, w, h, face_confidence: face.face_confidence,
      dominant_emotion: face.dominant_emotion, ...face.emotions, flags: face.flags.join(" ") };
  });
}

$("as-json").addEventListener("click", () =>
  save("faces.json", new Blob([JSON.stringify(shown.map((one) => one.record), null, 1)])));
$("as-csv").addEventListener("click", () => {
  const lines = shown.flatMap(rows).map((row) => COLUMNS.map((name) => cell(row[name])).join(","));
  save("faces.csv", new Blob([[COLUMNS.join(","), ...lines].join("\n") + "\n"], { type: "text/csv" }));
});
$("as-png").addEventListener("click", async () => {
  for (const one of shown) save(`${one.name.replace(/\.\w+$/, "")}-faces.png`, await annotated(one));
});
$("clear").addEventListener("click", () => {
  for (const one of shown.splice(0)) URL.revokeObjectURL(one.address);
  $("pictures").replaceChildren();
  $("picture-actions").hidden = true;
  say("");
  $("files").focus();
});

async function annotated({ address, record }) {
  const image = new Image();
  image.src = address;
  await image.decode();
  const canvas = make("canvas");
  canvas.width = record.width;
  canvas.height = record.height;
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0, record.width, record.height);
  const size = Math.max(12, Math.max(record.width, record.height) / 45);
  pen.font = `600 ${size}px system-ui, sans-serif`;
  pen.textBaseline = "bottom";
  for (const face of record.faces) {
    const most = face.dominant_emotion, [x, y, w, h] = face.box;
    const text = `${most} ${(100 * face.emotions[most]).toFixed(0)} %`;
    for (const [colour, wide] of [["#000a", size / 4], [COLOURS[most], size / 8]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = wide;
      pen.strokeRect(x, y, w, h);
    }
    const top = Math.max(y, 1.3 * size);
    pen.fillStyle = "#101418cc";
    pen.fillRect(x, top - 1.25 * size, pen.measureText(text).width + size / 2, 1.25 * size);
    pen.fillStyle = COLOURS[most];
    pen.fillText(text, x + size / 4, top - size / 10);
  }
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

// The camera.

let watching = null;            // {media, socket, waiting, times}

async function startCamera() {
  say("Asking for the camera …");
  let media;
  try {
    media = await navigator.mediaDevices.getUserMedia({ video: { width: 1280, height: 720 } });
  } catch (error) {
    const why = { NotAllowedError: "The camera was not allowed.", NotFoundError: "There is no camera." };
    return say(why[error.name] || `The camera does not start: ${error.message}`, true);
  }
  const view = $("camera-view");
  view.srcObject = media;
  await view.play();
  const address = new URL(`live?${query()}`, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const socket = new WebSocket(address, token ? ["mien", `mien.bearer.${token}`] : ["mien"]);
  watching = { media, socket, sent: 0, times: [] };
  $("camera-start").hidden = true;
  $("camera-stop").hidden = false;
  socket.addEventListener("open", () => { say("Watching."); sendFrame(); });
  socket.addEventListener("message", (event) => {
    const record = JSON.parse(event.data);
    if (record.error) return say(record.error, true);
    showLive(record);
    sendFrame();
  });
  socket.addEventListener("close", (event) => {
    if (watching && watching.socket === socket) {
      stopCamera();
      say(event.reason || "The connection has ended.", true);
    }
  });
}

function sendFrame() {
  if (!watching || watching.socket.readyState !== WebSocket.OPEN) return;
  const view = $("camera-view");
  if (!view.videoWidth) return setTimeout(sendFrame, 50);
  const share = Math.min(1, FRAME / Math.max(view.videoWidth, view.videoHeight));
  const canvas = make("canvas");
  canvas.width = Math.round(share * view.videoWidth);
  canvas.height = Math.round(share * view.videoHeight);
  canvas.getContext("2d").drawImage(view, 0, 0, canvas.width, canvas.height);
  watching.sent = performance.now();
  canvas.toBlob((body) => watching && watching.socket.readyState === WebSocket.OPEN && watching.socket.send(body),
    "image/jpeg", 0.85);
}

function showLive(record) {
  const now = performance.now();
  watching.times.push(now);
  if (watching.times.length > 30) watching.times.shift();
  const span = (now - watching.times[0]) / 1000;
  const rate = span > 0 ? (watching.times.length - 1) / span : 0;
  $("pace").textContent = `${rate.toFixed(0)} frames a second, ${(now - watching.sent).toFixed(0)} ms behind`;
  const flip = ([x, y, w, h]) => ($("mirror").checked ? [record.width - x - w, y, w, h] : [x, y, w, h]);
  boxes($("camera-stage"), record.width, record.height,
    record.faces.map((face) => ({ ...face, box: flip(face.box) })));
  record.faces.sort((a, b) => a.face_id - b.face_id);
  const faces = document.createDocumentFragment();
  for (const face of record.faces) card(face, faces);
  if (!record.faces.length) make("p", "No face in sight.", faces, "dim");
  $("camera-faces").replaceChildren(faces);
}

function stopCamera() {
  if (!watching) return;
  const { media, socket } = watching;
  watching = null;
  media.getTracks().forEach((track) => track.stop());
  socket.close();
  $("camera-view").srcObject = null;
  $("camera-stage").querySelector("svg")?.replaceChildren();
  $("camera-faces").replaceChildren();
  $("camera-start").hidden = false;
  $("camera-stop").hidden = true;
  $("pace").textContent = "";
  say("");
}

$("camera-start").addEventListener("click", () => startCamera().catch((error) => say(error.message, true)));
$("camera-stop").addEventListener("click", stopCamera);
$("mirror").addEventListener("change", (event) =>
  $("camera-stage").classList.toggle("mirrored", event.target.checked));
$("camera-stage").classList.add("mirrored");

// A video.

const MADE = { "page.html": "Interactive page", "annotated.mp4": "Annotated video", "timeline.png": "Timeline",
  "faces.csv": "CSV", "faces.jsonl": "JSON lines" };
let job = null;                 // {id}

async function readVideo(file) {
  if (!file) return;
  if (job) await forgetJob();
  $("job").hidden = false;
  $("job-results").replaceChildren();
  $("timeline").hidden = true;
  $("job-name").textContent = `Sending ${file.name} …`;
  $("job-bar").removeAttribute("value");
  $("job-bar").hidden = false;
  $("job-stop").textContent = "Stop and forget it";
  try {
    const answer = await ask(`videos?${query({ name: file.name })}`, { method: "POST", body: file,
      headers: { "Content-Type": file.type || "application/octet-stream" } });
    job = await answer.json();
    await followJob(job.id);
  } catch (error) {
    $("job").hidden = true;
    say(error.message, true);
  }
}

async function followJob(id) {
  while (job && job.id === id) {
    const told = await (await ask(`videos/${id}`)).json();
    $("job-bar").value = told.progress;
    $("job-name").textContent = told.state === "running"
      ? `${told.name}: ${(100 * told.progress).toFixed(0)} %, ${told.frames} frames`
      : `${told.name}: ${told.state}`;
    if (told.error) {
      say(told.error, true);
      return;
    }
    if (told.state === "done") return showResults(told);
    await new Promise((later) => setTimeout(later, 500));
  }
}

async function showResults(told) {
  say(told.notes.join(" "));
  $("job-bar").hidden = true;
  $("job-stop").textContent = "Forget it";
  for (const name of told.results) {
    const button = make("button", MADE[name] || name, $("job-results"));
    button.type = "button";
    button.addEventListener("click", async () => {
      try {
        save(name, await (await ask(`videos/${told.id}/results/${name}`)).blob());
      } catch (error) {
        say(error.message, true);
      }
    });
  }
  if (told.results.includes("page.html")) {
    $("timeline").srcdoc = await (await ask(`videos/${told.id}/results/page.html`)).text();
    $("timeline").hidden = false;
  }
}

async function forgetJob() {
  const { id } = job;
  job = null;
  $("job").hidden = true;
  await ask(`videos/${id}`, { method: "DELETE" }).catch(() => {});
}

$("video-file").addEventListener("change", (event) => {
  readVideo(event.target.files[0]);
  event.target.value = "";
});
$("job-stop").addEventListener("click", () => job && forgetJob());

// Tabs.

const tabs = [...document.querySelectorAll("[role=tab]")];

function open(tab) {
  for (const other of tabs) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", chosen);
    other.tabIndex = chosen ? 0 : -1;
    $(other.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (tab.id !== "tab-camera") stopCamera();
  say("");
}

for (const [place, tab] of tabs.entries()) {
  tab.addEventListener("click", () => open(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(place + step + tabs.length) % tabs.length];
    open(next);
    next.focus();
  });
}

fillModels().catch((error) => say(error.message, true));
