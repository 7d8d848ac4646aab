"use strict";

/**
 * A face over time. often: on how many frames each emotion was the largest; shares: in
 * ten-thousandths; boxes: x, y, width, height in thousandths of the frame.
 * @typedef {{ id: number, picture: string, on_screen: number, often: number[], times: number[],
 *   shares: number[][], boxes: number[][], visible: number[], interpolated: number[] }} Line
 * @typedef {{ name: string, video: string, model: string, frames: number, start: number, end: number,
 *   step: number, ticks: number[], notes: string[], faded: number, fewest: number, labels: string[],
 *   colours: Record<string, string>, stills: [number, string][], found: number, faces: Line[] }} Data
 * @typedef {{ k: number, pale: boolean, before: number, after: number }} Moment
 * @typedef {{ face: Line, row: HTMLElement, canvas: HTMLCanvasElement, mark: HTMLElement }} Lane
 */

/** @type {(id: string) => any} */
const $ = (id) => document.getElementById(id);
/** @type {Data} */
const data = JSON.parse($("data").textContent);

/**
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {string} [text]
 * @param {Element} [within]
 */
const make = (name, text, within) => {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (within) within.append(element);
  return element;
};
/**
 * 0:05.2, 1:05 or 1:00:00; tenths only where the step between times has them.
 * @param {number} seconds
 */
function clock(seconds, step = 0.1) {
  const tenths = Math.round(10 * seconds), minutes = Math.floor(tenths / 600);
  const rest = tenths % 600 / 10, two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  const end = step < 1 ? rest.toFixed(1).padStart(4, "0") : two(Math.floor(rest));
  return minutes < 60 ? `${minutes}:${end}`
    : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${end}`;
}
/** @param {number} p */
const percent = (p) => `${Math.round(100 * p)}\u00a0%`;
/** @type {(n: number, what: string) => string} */
const count = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
const span = Math.max(data.end - data.start, 0.001);
// time: where the marks are. pictured: of which moment the video's picture is.
let time = data.start, pictured = data.start, chosen = 0;

// Faces over time.

/**
 * How many of some times in order are not after this one, less 1.
 * @param {number[]} times
 * @param {number} seconds
 */
function latest(times, seconds) {
  let low = 0, high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= seconds) low = middle + 1; else high = middle;
  }
  return low - 1;
}

/**
 * The sample nearest to a time and whether the face is interpolated there, or null where it is
 * absent; `least`: seconds of the shortest stretch. Which stretches there are, Python has decided:
 * `visible` and `interpolated` hold from when to when, one after the other (timeline_data.py).
 * @param {Line} face
 * @param {number} seconds
 * @returns {Moment | null}
 */
function at({ times, visible, interpolated }, seconds, least = 0) {
  const found = latest(times, seconds);
  const before = Math.max(0, found), after = Math.min(times.length - 1, found + 1);
  const k = seconds - times[before] < times[after] - seconds ? before : after;
  const stretch = latest(visible, times[k]) & ~1, from = visible[stretch], to = visible[stretch + 1];
  const wider = Math.max(0, (least - (to - from)) / 2);
  if (seconds < from - wider || seconds > to + wider) return null;
  const pale = latest(interpolated, seconds) % 2 === 0;
  const between = times[before] >= from && times[after] <= to && times[before] <= seconds;
  return between ? { k, pale, before, after } : { k, pale, before: k, after: k };
}

/** @param {number[]} shares */
const largest = (shares) => shares.indexOf(Math.max(...shares));
/** @type {(face: Line, k: number) => string} */
const colour = (face, k) => data.colours[data.labels[largest(face.shares[k])]];

// Lanes. Each pixel of a strip stands for the time of its middle.

const ratio = () => window.devicePixelRatio || 1;
/** @param {HTMLCanvasElement} canvas */
const pixels = (canvas) => Math.round(canvas.clientWidth * ratio());
/** @type {(x: number, wide: number) => number} */
const secondsAt = (x, wide) => data.start + span * (x + 0.5) / wide;
/** @param {number} wide */
const least = (wide) => data.fewest * ratio() / wide * span;

/**
 * The time that is pointed at; where a short sighting is drawn wider than it is, that sighting's.
 * @type {(face: Line, canvas: HTMLCanvasElement, clientX: number) => number}
 */
function pointed(face, canvas, clientX) {
  const box = canvas.getBoundingClientRect(), wide = pixels(canvas);
  const x = Math.floor((clientX - box.left) / box.width * wide);
  const seconds = secondsAt(Math.min(wide - 1, Math.max(0, x)), wide);
  const drawn = at(face, seconds, least(wide));
  return drawn && !at(face, seconds) ? face.times[drawn.k] : seconds;
}

/** @param {Lane} lane */
function paint({ face, canvas }) {
  const wide = pixels(canvas), high = Math.round(canvas.clientHeight * ratio());
  Object.assign(canvas, { width: wide, height: high });
  if (!wide) return;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--lane");
  context.fillRect(0, 0, wide, high);
  /** @type {(from: number, to: number, moment: Moment) => void} */
  const stack = (from, to, { k, pale }) => {
    const sum = face.shares[k].reduce((a, b) => a + b, 0) || 1;
    let top = 0, share = 0;
    context.globalAlpha = pale ? data.faded : 1;
    face.shares[k].forEach((part, n) => {
      share += part;
      const bottom = Math.round(share / sum * high);
      context.fillStyle = data.colours[data.labels[n]];
      context.fillRect(from, top, to - from, bottom - top);
      top = bottom;
    });
  };
  let from = 0, run = null;
  for (let x = 0; x <= wide; x++) {
    const now = x < wide ? at(face, secondsAt(x, wide), least(wide)) : null;
    if (run && now && run.k === now.k && run.pale === now.pale) continue;
    if (run) stack(from, x, run);
    from = x;
    run = now;
  }
}

/** @type {(face: Line, index: number) => Lane} */
function lane(face, index) {
  const row = make("div", undefined, $("lanes"));
  row.className = "lane";
  const who = make("div", undefined, row);
  who.className = "who";
  if (face.picture) {
    const image = make("img", undefined, who);
    image.src = face.picture;
    image.alt = `face ${face.id}`;
  }
  const words = make("div", undefined, who);
  make("b", `face ${face.id}`, words);
  const seconds = face.on_screen < 0.05 ? "under 0.1" : face.on_screen.toFixed(1);
  make("div", `${seconds}\u00a0s on screen`, words);
  const n = largest(face.often), all = face.often.reduce((a, b) => a + b, 0) || 1;
  make("div", `${data.labels[n]} largest on ${percent(face.often[n] / all)} of frames`, words);
  const strip = make("div", undefined, row);
  strip.className = "strip";
  const canvas = make("canvas", undefined, strip), mark = make("i", undefined, strip);
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "slider");
  canvas.setAttribute("aria-label", `emotions of face ${face.id} over time`);
  canvas.setAttribute("aria-valuemin", `${data.start}`);
  canvas.setAttribute("aria-valuemax", `${data.end}`);
  const go = (/** @type {PointerEvent} */ event) => goTo(pointed(face, canvas, event.clientX), index);
  // A mouse shows what it points at. A finger taps, or scrubs once it moves sideways.
  /** @type {{ x: number, y: number, scrubs: boolean } | null} */
  let down = null;
  canvas.addEventListener("pointerdown", (event) => {
    down = { x: event.clientX, y: event.clientY, scrubs: event.pointerType !== "touch" };
    if (down.scrubs) { canvas.setPointerCapture(event.pointerId); go(event); }
  });
  canvas.addEventListener("pointermove", (event) => {
    if (down && !down.scrubs) {
      const x = Math.abs(event.clientX - down.x), y = Math.abs(event.clientY - down.y);
      down.scrubs = x > 6 && x > y;
    }
    if (down ? down.scrubs : event.pointerType !== "touch" && !playing()) go(event);
  });
  canvas.addEventListener("pointerup", (event) => { if (down) go(event); down = null; });
  canvas.addEventListener("pointercancel", () => { down = null; });
  canvas.addEventListener("focus", () => show(time, index));
  canvas.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 1 : span / 200;
    /** @type {Record<string, number>} */
    const places = { ArrowLeft: time - step, ArrowRight: time + step, Home: face.times[0],
      End: face.times[face.times.length - 1] };
    const to = places[event.key];
    if (to !== undefined) goTo(to, index);
    else if (event.key === " " && film) toggle();
    else return;
    event.preventDefault();
  });
  return { face, row, canvas, mark };
}

function axis() {
  const line = $("axis").firstElementChild, wide = line.clientWidth;
  const step = data.ticks.find((tick) => span / tick <= Math.max(2, wide / 80)) || data.ticks[data.ticks.length - 1];
  line.replaceChildren();
  for (let k = Math.ceil(data.start / step); k * step <= data.end + 1e-6; k++) {
    const mark = make("span", clock(k * step, step), line), part = (k * step - data.start) / span;
    mark.style.left = `${100 * part}%`;
    mark.className = part * wide < 16 ? "first" : (1 - part) * wide < 16 ? "last" : "";
  }
}

// The video, if it is there; single pictures of it, if not.

const still = make("img", undefined, $("film"));
still.alt = `a moment of ${data.name}`;
let film = data.video ? make("video", undefined, $("film")) : null;
const boxes = film ? data.faces.map(box) : [];
// Where to go once the video has come to where it was sent last; null for nowhere.
/** @type {number | null} */
let wanted = null;

const playing = () => film !== null && !film.paused;
/** @type {(wide: number, high: number) => void} */
function shape(wide, high) {
  if (wide && high) document.documentElement.style.setProperty("--shape", `${wide / high}`);
}

function seek() {
  wanted = time;
  if (film?.readyState && !film.seeking) sent();
}

function sent() {
  if (!film || wanted === null) return;
  pictured = wanted;
  wanted = null;
  // A little into the frame, for times are rounded, and so that it is the one whose sample is nearest.
  film.currentTime = pictured + Math.min(0.02, data.step / 2);
}

function toggle() {
  if (!film) return;
  if (playing()) return film.pause();
  if (time > data.end - 1.5 * data.step) goTo(data.start, chosen);
  return film.play().catch(() => {});
}

/**
 * What is played is shown frame by frame, as far as it was analyzed.
 * @param {number} seconds
 */
function played(seconds) {
  if (!film || film.paused || film.seeking) return;
  if (seconds > data.end + data.step) film.pause();
  pictured = Math.min(data.end, seconds);
  show(pictured, chosen);
}

function lost() {
  film?.remove();
  film = null;
  for (const one of boxes) one.remove();
  still.hidden = false;
  $("play").hidden = true;
  $("missing").hidden = false;
}

/** @param {HTMLVideoElement} film */
function prepare(film) {
  film.muted = true;
  film.playsInline = true;
  film.preload = "auto";
  film.hidden = true;
  film.setAttribute("aria-label", data.name);
  film.addEventListener("loadedmetadata", () => {
    if (!film.videoWidth) return lost();
    shape(film.videoWidth, film.videoHeight);
    film.hidden = $("play").hidden = false;
    still.hidden = true;
    return seek();
  });
  film.addEventListener("error", lost);
  film.addEventListener("seeked", () => { if (wanted === null) drawBoxes(); else sent(); });
  film.addEventListener("click", toggle);
  for (const name of ["play", "pause"]) film.addEventListener(name, tellPlaying);
  if (film.requestVideoFrameCallback) {
    /** @type {VideoFrameRequestCallback} */
    const next = (_, { mediaTime }) => {
      played(mediaTime);
      film.requestVideoFrameCallback(next);
    };
    film.requestVideoFrameCallback(next);
  } else film.addEventListener("timeupdate", () => played(film.currentTime));
  film.src = data.video;
  $("toggle").addEventListener("click", toggle);
  $("sound").addEventListener("click", () => {
    film.muted = !film.muted;
    $("sound").setAttribute("aria-pressed", `${!film.muted}`);
  });
  tellPlaying();
}

if (film) prepare(film);
still.addEventListener("load", () => { if (!still.hidden) shape(still.naturalWidth, still.naturalHeight); });

function tellPlaying() {
  $("toggle").setAttribute("aria-label", playing() ? "pause" : "play");
  $("toggle").querySelector("path").setAttribute("d",
    playing() ? "M3 2h4v12H3zM9 2h4v12H9z" : "M3 1.5v13L14 8z");
}

/**
 * One box per face, for as long as the page is there: what is clicked must not be made anew.
 * @type {(face: Line, index: number) => HTMLElement}
 */
function box(face, index) {
  const one = make("button", undefined, $("film"));
  make("span", `${face.id}`, one);
  one.type = "button";
  one.tabIndex = -1;
  one.hidden = true;
  one.addEventListener("click", () => show(time, index));
  return one;
}

function drawBoxes() {
  if (!film || film.hidden) return;
  data.faces.forEach((face, index) => {
    const one = boxes[index], found = at(face, pictured);
    one.hidden = !found;
    if (!found) return;
    const { k, pale, before, after } = found, [from, to] = [face.times[before], face.times[after]];
    // Between two samples a face is on its way from one to the other.
    const part = to > from ? (pictured - from) / (to - from) : 0;
    const [x, y, w, h] = face.boxes[before].map((v, n) => (v + (face.boxes[after][n] - v) * part) / 10);
    Object.assign(one.style, { left: `${x}%`, top: `${y}%`, width: `${w}%`, height: `${h}%` });
    // Where boxes overlap, the smaller one can be clicked.
    one.style.zIndex = `${index === chosen ? 11000 : 10000 - Math.round(Math.max(0, w * h))}`;
    one.style.setProperty("--c", colour(face, k));
    one.className = "box" + (pale ? " pale" : "") + (index === chosen ? " chosen" : "") +
      (y > 7 ? "" : y + h < 93 ? " under" : " inside") + (x > 80 ? " far" : "");
    const name = data.labels[largest(face.shares[k])];
    if (one.firstElementChild) one.firstElementChild.textContent = index === chosen ? `${face.id} ${name}` : `${face.id}`;
    one.setAttribute("aria-label", `face ${face.id}, ${name}`);
  });
}

// The moment.

/** @type {(face: Line, moment: Moment) => void} */
function bars(face, { k, pale }) {
  const list = make("div", undefined, $("now"));
  list.className = pale ? "bars pale" : "bars";
  data.labels.forEach((label, n) => {
    const share = face.shares[k][n] / 10000;
    make("span", label, list);
    make("span", percent(share), list);
    const bar = make("i", undefined, make("span", undefined, list));
    bar.style.width = `${Math.min(100, 100 * share)}%`;
    bar.style.background = data.colours[label];
  });
}

/** @type {(face: Line, found: Moment | null) => string} */
function told(face, found) {
  if (!found) return "not seen here";
  if (found.pale) return "not seen for a moment";
  const shares = face.shares[found.k];
  return data.labels.map((label, n) => ({ label, share: shares[n] })).sort((a, b) => b.share - a.share)
    .slice(0, 2).map(({ label, share }) => `${label} ${percent(share / 10000)}`).join(", ");
}

/** @type {(seconds: number, index: number) => void} */
function show(seconds, index) {
  time = Math.min(data.end, Math.max(data.start, seconds));
  chosen = index;
  const near = data.stills.reduce((best, one) =>
    Math.abs(one[0] - time) < Math.abs(best[0] - time) ? one : best, data.stills[0] || [0, ""]);
  if (near[1] && still.src !== near[1]) still.src = near[1];
  $("clock").textContent = `${clock(time)} / ${clock(data.end)}`;
  $("now").replaceChildren();
  make("b", clock(time), $("now"));
  lanes.forEach(({ face, row, canvas, mark }, n) => {
    row.classList.toggle("chosen", n === index);
    mark.style.left = `${100 * (time - data.start) / span}%`;
    canvas.setAttribute("aria-valuenow", time.toFixed(1));
    canvas.setAttribute("aria-valuetext", `${clock(time)}: ${told(face, at(face, time))}`);
  });
  if (lanes.length) {
    const { face } = lanes[index], found = at(face, time);
    const absent = !found || found.pale ? ` is ${told(face, found)}` : "";
    make("div", `face ${face.id}${absent}`, $("now"));
    if (found) bars(face, found);
  } else make("div", "no face was found", $("now"));
  if (!film || playing() || (!film.seeking && wanted === null)) drawBoxes();
}

/** @type {(seconds: number, index: number) => void} */
function goTo(seconds, index) {
  show(seconds, index);
  seek();
}

document.title = `${data.name}, by mien`;
$("title").textContent = data.name;
const cut = data.found > data.faces.length ? ` (the ${data.faces.length} longest on screen are shown)` : "";
$("about").textContent = `${clock(data.start)} to ${clock(data.end)}, ${count(data.frames, "frame")}, ` +
  `${count(data.found, "face")}${cut}; model ${data.model}`;
for (const label of data.faces.length ? data.labels : []) {
  make("span", label, $("legend")).style.setProperty("--c", data.colours[label]);
}
for (const note of data.notes) make("small", note, $("legend"));
$("axis").hidden = $("help").hidden = !data.faces.length;

const lanes = data.faces.map(lane);
const repaint = () => { lanes.forEach(paint); axis(); };
new ResizeObserver(repaint).observe($("lanes"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
show(data.start, 0);
