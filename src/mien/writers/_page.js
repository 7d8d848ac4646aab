"use strict";

/**
 * The emotions of one face over time. `mean_shares` are means over the video, 0 to 1, in the order of
 * `labels`. `shares` are in ten-thousandths. `boxes` are x, y, width and height in thousandths
 * of the frame. `present` and `interpolated` are intervals: start, end, start, end and so on, in seconds.
 * @typedef {{ id: number, portrait: string, seconds_on_screen: number, mean_shares: number[],
 *   times: number[], shares: number[][], boxes: number[][], present: number[],
 *   interpolated: number[] }} Series
 * @typedef {{ name: string, video: string, model: string, frames: number, start: number, end: number,
 *   step: number, shots: [number, number][], ticks: number[], notes: string[], interpolated_opacity: number,
 *   min_visible_pixels: number, labels: string[], colors: Record<string, string>,
 *   stills: [number, string][], face_count: number, faces: Series[] }} Data
 *
 * In `Data`, `step` is the typical interval between frames in seconds, `ticks` are the possible intervals of
 * the time axis, `shots` are the start in seconds and the number of each shot but the first (empty if there are
 * too many), and `stills` are the time in seconds and the data URL of each still image.
 *
 * A `Sample` has the indices of the samples of a face that are nearest to, before and after a time.
 * @typedef {{ nearest: number, before: number, after: number, isInterpolated: boolean }} Sample
 * @typedef {{ face: Series, element: HTMLElement, canvas: HTMLCanvasElement, cursor: HTMLElement }} Row
 */

const EDGE_PIXELS = 16;    // the label of a tick is centered, except closer than this to an end of the axis
const TICK_PIXELS = 80;    // minimum distance between ticks of the axis
const SHOT_GAP_PIXELS = 6; // minimum distance between the labels of shots
const DRAG_PIXELS = 6;     // a finger that moves sideways by more than this selects times; otherwise it taps or scrolls
const LABEL_PERCENT = 7;   // space for a label above or below a box, in percent of the height of the frame
const RIGHT_PERCENT = 80;  // minimum left edge, in percent of the width, of boxes whose labels are aligned to the right

/** @type {(id: string) => any} */
const $ = (id) => document.getElementById(id);
/** @type {Data} */
const data = JSON.parse($("data").textContent);

/**
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {string} [text]
 * @param {Element} [parent]
 */
const make = (name, text, parent) => {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (parent) parent.append(element);
  return element;
};
/**
 * Format a time as 0:05.2, 1:05 or 1:00:00, with tenths if the step between times is below a second.
 * @param {number} seconds
 */
function formatTime(seconds, step = 0.1) {
  const tenths = Math.round(10 * seconds), minutes = Math.floor(tenths / 600);
  const remainder = tenths % 600 / 10, twoDigits = (/** @type {number} */ n) => String(n).padStart(2, "0");
  const secondsText = step < 1 ? remainder.toFixed(1).padStart(4, "0") : twoDigits(Math.floor(remainder));
  return minutes < 60 ? `${minutes}:${secondsText}`
    : `${Math.floor(minutes / 60)}:${twoDigits(minutes % 60)}:${secondsText}`;
}
/** @param {number} share */
const formatPercent = (share) => `${Math.round(100 * share)}\u202f%`;
/** @type {(number: number, singularNoun: string) => string} */
const formatCount = (number, singularNoun) => `${number} ${singularNoun}${number === 1 ? "" : "s"}`;
/** @param {number[]} values */
const sum = (values) => values.reduce((a, b) => a + b, 0);
const duration = Math.max(data.end - data.start, 0.001);
// currentTime is the selected time; videoTime is the time of the frame that the video shows.
let currentTime = data.start, videoTime = data.start, selectedFace = 0;

// Samples of a face.

/**
 * Return the index of the last of the sorted times that is not after `seconds`; -1 if all are after it.
 * @param {number[]} times
 * @param {number} seconds
 */
function lastIndex(times, seconds) {
  let low = 0, high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= seconds) low = middle + 1; else high = middle;
  }
  return low - 1;
}

/**
 * Return the sample of a face at a time, or null if the face is absent. Visible intervals shorter than
 * `minSeconds` are extended to that length. Python computes the intervals (timeline_data.py).
 * @param {Series} face
 * @param {number} seconds
 * @returns {Sample | null}
 */
function sampleAt({ times, present, interpolated }, seconds, minSeconds = 0) {
  const last = lastIndex(times, seconds);
  const before = Math.max(0, last), after = Math.min(times.length - 1, last + 1);
  const nearest = seconds - times[before] < times[after] - seconds ? before : after;
  // In a list of start, end, start, end and so on, starts have even indices.
  const interval = 2 * Math.floor(lastIndex(present, times[nearest]) / 2);
  const start = present[interval], end = present[interval + 1];
  const margin = Math.max(0, (minSeconds - (end - start)) / 2);
  if (seconds < start - margin || seconds > end + margin) return null;
  const isInterpolated = lastIndex(interpolated, seconds) % 2 === 0;
  const isBetween = times[before] >= start && times[after] <= end && times[before] <= seconds;
  return isBetween ? { nearest, before, after, isInterpolated }
    : { nearest, before: nearest, after: nearest, isInterpolated };
}

/** @param {number[]} values */
const argmax = (values) => values.indexOf(Math.max(...values));
/** @type {(face: Series, index: number) => string} */
const dominantLabel = (face, index) => data.labels[argmax(face.shares[index])];
/** @type {(face: Series, index: number) => string} */
const dominantColor = (face, index) => data.colors[dominantLabel(face, index)];

// Rows with one strip per face. Each pixel column shows the time at its center.

const pixelRatio = () => window.devicePixelRatio || 1;
/** @param {HTMLCanvasElement} canvas */
const pixelWidth = (canvas) => Math.round(canvas.clientWidth * pixelRatio());
/** @type {(x: number, width: number) => number} */
const timeAtPixel = (x, width) => data.start + duration * (x + 0.5) / width;
/** @param {number} width */
const minVisibleSeconds = (width) => data.min_visible_pixels * pixelRatio() / width * duration;

/**
 * Return the time at the pointer. Short intervals are drawn wider than they are; where a face is drawn although
 * it is absent, return the time of its nearest sample.
 * @type {(face: Series, canvas: HTMLCanvasElement, clientX: number) => number}
 */
function timeAtPointer(face, canvas, clientX) {
  const box = canvas.getBoundingClientRect(), width = pixelWidth(canvas);
  const x = Math.floor((clientX - box.left) / box.width * width);
  const seconds = timeAtPixel(Math.min(width - 1, Math.max(0, x)), width);
  const drawnSample = sampleAt(face, seconds, minVisibleSeconds(width));
  return drawnSample && !sampleAt(face, seconds) ? face.times[drawnSample.nearest] : seconds;
}

/**
 * Return whether the stacks of shares that are drawn for two samples are the same.
 * @type {(a: Sample | null, b: Sample | null) => boolean}
 */
const isSameStack = (a, b) => a?.nearest === b?.nearest && a?.isInterpolated === b?.isInterpolated;

/**
 * Draw the strip of a face; adjacent pixel columns with the same sample are drawn as one stack.
 * @param {Row} row
 */
function drawRow({ face, canvas }) {
  const width = pixelWidth(canvas), height = Math.round(canvas.clientHeight * pixelRatio());
  Object.assign(canvas, { width, height });
  if (!width) return;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--strip");
  context.fillRect(0, 0, width, height);
  /** @type {(start: number, end: number, sample: Sample) => void} */
  const drawStack = (start, end, { nearest, isInterpolated }) => {
    const shares = face.shares[nearest], total = sum(shares) || 1;
    let top = 0, cumulative = 0;
    context.globalAlpha = isInterpolated ? data.interpolated_opacity : 1;
    shares.forEach((share, n) => {
      cumulative += share;
      const bottom = Math.round(cumulative / total * height);
      context.fillStyle = data.colors[data.labels[n]];
      context.fillRect(start, top, end - start, bottom - top);
      top = bottom;
    });
  };
  let start = 0;
  /** @type {Sample | null} */
  let previous = null;
  for (let x = 0; x <= width; x++) {
    const sample = x < width ? sampleAt(face, timeAtPixel(x, width), minVisibleSeconds(width)) : null;
    if (isSameStack(previous, sample)) continue;
    if (previous) drawStack(start, x, previous);
    start = x;
    previous = sample;
  }
  drawShotLines(context);
}

/**
 * Draw a line over a strip at the start of each shot but the first.
 * @param {CanvasRenderingContext2D} context
 */
function drawShotLines(context) {
  const { width, height } = context.canvas, lineWidth = Math.max(1, Math.floor(pixelRatio()));
  context.globalAlpha = 1;
  context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--cursor");
  for (const [seconds] of data.shots) {
    context.fillRect(Math.round((seconds - data.start) / duration * width), 0, lineWidth, height);
  }
}

/** @type {(face: Series, index: number) => Row} */
function makeRow(face, index) {
  const element = make("div", undefined, $("rows"));
  element.className = "row";
  describeFace(face, element);
  const strip = make("div", undefined, element);
  strip.className = "strip";
  const canvas = make("canvas", undefined, strip), cursor = make("i", undefined, strip);
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "slider");
  canvas.setAttribute("aria-label", `emotions of face ${face.id} over time`);
  canvas.setAttribute("aria-valuemin", `${data.start}`);
  canvas.setAttribute("aria-valuemax", `${data.end}`);
  handlePointer(face, index, canvas);
  handleKeys(face, index, canvas);
  return { face, element, canvas, cursor };
}

/** @type {(face: Series, parent: HTMLElement) => void} */
function describeFace(face, parent) {
  const description = make("div", undefined, parent);
  description.className = "face-description";
  if (face.portrait) {
    const image = make("img", undefined, description);
    image.src = face.portrait;
    image.alt = `face ${face.id}`;
  }
  const text = make("div", undefined, description);
  make("b", `face ${face.id}`, text);
  const seconds = face.seconds_on_screen < 0.05 ? "under 0.1" : face.seconds_on_screen.toFixed(1);
  make("div", `${seconds}\u00a0s on screen`, text);
  const dominant = argmax(face.mean_shares);
  make("div", `mean share: ${data.labels[dominant]} ${formatPercent(face.mean_shares[dominant])}`, text);
}

/**
 * Select the time at the mouse pointer, or at a finger that taps or moves sideways.
 * @type {(face: Series, index: number, canvas: HTMLCanvasElement) => void}
 */
function handlePointer(face, index, canvas) {
  const select = (/** @type {PointerEvent} */ event) => goTo(timeAtPointer(face, canvas, event.clientX), index);
  /** @type {{ x: number, y: number, isScrubbing: boolean } | null} */
  let press = null;
  canvas.addEventListener("pointerdown", (event) => {
    press = { x: event.clientX, y: event.clientY, isScrubbing: event.pointerType !== "touch" };
    if (press.isScrubbing) { canvas.setPointerCapture(event.pointerId); select(event); }
  });
  canvas.addEventListener("pointermove", (event) => {
    if (press && !press.isScrubbing) {
      const dx = Math.abs(event.clientX - press.x), dy = Math.abs(event.clientY - press.y);
      press.isScrubbing = dx > DRAG_PIXELS && dx > dy;
    }
    if (press ? press.isScrubbing : event.pointerType !== "touch" && !isPlaying()) select(event);
  });
  canvas.addEventListener("pointerup", (event) => { if (press) select(event); press = null; });
  canvas.addEventListener("pointercancel", () => { press = null; });
}

/** @type {(face: Series, index: number, canvas: HTMLCanvasElement) => void} */
function handleKeys(face, index, canvas) {
  canvas.addEventListener("focus", () => show(currentTime, index));
  canvas.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 1 : duration / 200;
    /** @type {Record<string, number>} */
    const targets = { ArrowLeft: currentTime - step, ArrowRight: currentTime + step, Home: face.times[0],
      End: face.times[face.times.length - 1] };
    const target = targets[event.key];
    if (target !== undefined) goTo(target, index);
    else if (event.key === " " && video) togglePlay();
    else return;
    event.preventDefault();
  });
}

function drawAxis() {
  const axis = $("axis").firstElementChild, width = axis.clientWidth;
  const maxTicks = Math.max(2, width / TICK_PIXELS);
  const step = data.ticks.find((tick) => duration / tick <= maxTicks) || data.ticks[data.ticks.length - 1];
  axis.replaceChildren();
  for (let k = Math.ceil(data.start / step); k * step <= data.end + 1e-6; k++) {
    const tick = make("span", formatTime(k * step, step), axis), position = (k * step - data.start) / duration;
    tick.style.left = `${100 * position}%`;
    if (position * width < EDGE_PIXELS) tick.className = "first";
    else if ((1 - position) * width < EDGE_PIXELS) tick.className = "last";
  }
}

/** Label the shots after the first, where there is space. */
function drawShotLabels() {
  const bar = $("shots").firstElementChild, width = bar.clientWidth;
  let minLeft = 0;
  bar.replaceChildren();
  for (const [seconds, shot] of data.shots) {
    const left = (seconds - data.start) / duration * width;
    if (left < minLeft) continue;
    const label = make("span", `shot ${shot}`, bar);
    label.style.left = `${100 * left / width}%`;
    minLeft = left + label.offsetWidth + SHOT_GAP_PIXELS;
    if (left + label.offsetWidth > width) label.className = "last";
  }
}

// The video, or still images if it cannot be played.

const still = make("img", undefined, $("viewer"));
still.alt = `a frame of ${data.name}`;
let video = data.video ? make("video", undefined, $("viewer")) : null;
const boxes = video ? data.faces.map(makeBox) : [];
// The time to seek to when the current seek has ended; null if there is none.
/** @type {number | null} */
let nextSeekTime = null;

const isPlaying = () => video !== null && !video.paused;
/** @type {(width: number, height: number) => void} */
function setAspectRatio(width, height) {
  if (width && height) document.documentElement.style.setProperty("--aspect-ratio", `${width / height}`);
}

function requestSeek() {
  nextSeekTime = currentTime;
  if (video?.readyState && !video.seeking) seek();
}

function seek() {
  if (!video || nextSeekTime === null) return;
  videoTime = nextSeekTime;
  nextSeekTime = null;
  // Times are rounded, so seek to slightly after the start of the frame of the nearest sample.
  video.currentTime = videoTime + Math.min(0.02, data.step / 2);
}

function togglePlay() {
  if (!video) return;
  if (isPlaying()) return video.pause();
  // At the last frame, start again.
  if (currentTime > data.end - 1.5 * data.step) goTo(data.start, selectedFace);
  return video.play().catch(() => {});
}

/**
 * Show the time of the playing video, and pause it at the end of the analyzed part.
 * @param {number} seconds
 */
function onVideoFrame(seconds) {
  if (!video || video.paused || video.seeking) return;
  if (seconds > data.end + data.step) video.pause();
  videoTime = Math.min(data.end, seconds);
  show(videoTime, selectedFace);
}

function replaceVideoByStills() {
  video?.remove();
  video = null;
  for (const box of boxes) box.remove();
  still.hidden = false;
  $("controls").hidden = true;
  $("no-video").hidden = false;
}

/** @param {HTMLVideoElement} video */
function loadVideo(video) {
  video.muted = true;
  video.playsInline = true;
  video.preload = "auto";
  video.hidden = true;
  video.setAttribute("aria-label", data.name);
  video.addEventListener("loadedmetadata", () => {
    if (!video.videoWidth) return replaceVideoByStills();
    setAspectRatio(video.videoWidth, video.videoHeight);
    video.hidden = $("controls").hidden = false;
    still.hidden = true;
    return requestSeek();
  });
  video.addEventListener("error", replaceVideoByStills);
  video.addEventListener("seeked", () => { if (nextSeekTime === null) drawBoxes(); else seek(); });
  video.addEventListener("click", togglePlay);
  for (const name of ["play", "pause"]) video.addEventListener(name, updatePlayButton);
  if (video.requestVideoFrameCallback) {
    /** @type {VideoFrameRequestCallback} */
    const next = (_, { mediaTime }) => {
      onVideoFrame(mediaTime);
      video.requestVideoFrameCallback(next);
    };
    video.requestVideoFrameCallback(next);
  } else video.addEventListener("timeupdate", () => onVideoFrame(video.currentTime));
  video.src = data.video;
  $("play").addEventListener("click", togglePlay);
  $("sound").addEventListener("click", () => {
    video.muted = !video.muted;
    $("sound").setAttribute("aria-pressed", `${!video.muted}`);
  });
  updatePlayButton();
}

if (video) loadVideo(video);
still.addEventListener("load", () => { if (!still.hidden) setAspectRatio(still.naturalWidth, still.naturalHeight); });

function updatePlayButton() {
  $("play").setAttribute("aria-label", isPlaying() ? "pause" : "play");
  $("play").querySelector("path").setAttribute("d",
    isPlaying() ? "M3 2h4v12H3zM9 2h4v12H9z" : "M3 1.5v13L14 8z");
}

/**
 * Make the box of a face. All frames reuse it, because a click needs the same element at press and release.
 * @type {(face: Series, index: number) => HTMLElement}
 */
function makeBox(face, index) {
  const box = make("button", undefined, $("viewer"));
  make("span", `${face.id}`, box);
  box.type = "button";
  box.tabIndex = -1;
  box.hidden = true;
  box.addEventListener("click", () => show(currentTime, index));
  return box;
}

function drawBoxes() {
  if (!video || video.hidden) return;
  data.faces.forEach((face, index) => {
    const sample = sampleAt(face, videoTime);
    boxes[index].hidden = !sample;
    if (sample) drawBox(boxes[index], face, sample, index === selectedFace);
  });
}

/** @type {(box: HTMLElement, face: Series, sample: Sample, isSelected: boolean) => void} */
function drawBox(box, face, sample, isSelected) {
  const [x, y, w, h] = interpolateBox(face, sample);
  Object.assign(box.style, { left: `${x}%`, top: `${y}%`, width: `${w}%`, height: `${h}%` });
  // Smaller boxes are above larger ones, so that every box can be clicked.
  box.style.zIndex = `${isSelected ? 11000 : 10000 - Math.round(Math.max(0, w * h))}`;
  box.style.setProperty("--color", dominantColor(face, sample.nearest));
  const hasSpaceAbove = y > LABEL_PERCENT, hasSpaceBelow = y + h < 100 - LABEL_PERCENT;
  box.className = "box";
  box.classList.toggle("interpolated", sample.isInterpolated);
  box.classList.toggle("selected", isSelected);
  box.classList.toggle("label-below", !hasSpaceAbove && hasSpaceBelow);
  box.classList.toggle("label-inside", !hasSpaceAbove && !hasSpaceBelow);
  box.classList.toggle("label-right", x > RIGHT_PERCENT);
  const label = dominantLabel(face, sample.nearest);
  if (box.firstElementChild) box.firstElementChild.textContent = isSelected ? `${face.id} ${label}` : `${face.id}`;
  box.setAttribute("aria-label", `face ${face.id}, ${label}`);
}

/**
 * Interpolate the box linearly between two samples at the time of the video, in percent of the frame.
 * @type {(face: Series, sample: Sample) => number[]}
 */
function interpolateBox({ times, boxes }, { before, after }) {
  const [start, end] = [times[before], times[after]];
  const fraction = end > start ? (videoTime - start) / (end - start) : 0;
  return boxes[before].map((value, n) => (value + (boxes[after][n] - value) * fraction) / 10);
}

// Details of the selected face at the selected time.

/** @type {(face: Series, sample: Sample) => void} */
function showBars(face, { nearest, isInterpolated }) {
  const list = make("div", undefined, $("details"));
  list.className = isInterpolated ? "bars interpolated" : "bars";
  data.labels.forEach((label, n) => {
    const share = face.shares[nearest][n] / 10000;
    make("span", label, list);
    make("span", formatPercent(share), list);
    const bar = make("i", undefined, make("span", undefined, list));
    bar.style.width = `${Math.min(100, 100 * share)}%`;
    bar.style.background = data.colors[label];
  });
}

/**
 * Return the two largest shares as text, or that the face is not visible.
 * @type {(face: Series, sample: Sample | null) => string}
 */
function describe(face, sample) {
  if (!sample) return "not visible";
  if (sample.isInterpolated) return "not visible for a moment (interpolated)";
  const shares = face.shares[sample.nearest];
  return data.labels.map((label, n) => ({ label, share: shares[n] })).sort((a, b) => b.share - a.share)
    .slice(0, 2).map(({ label, share }) => `${label} ${formatPercent(share / 10000)}`).join(", ");
}

/** @param {number} seconds */
function showStill(seconds) {
  const nearest = data.stills.reduce((best, candidate) =>
    Math.abs(candidate[0] - seconds) < Math.abs(best[0] - seconds) ? candidate : best, data.stills[0] || [0, ""]);
  if (nearest[1] && still.src !== nearest[1]) still.src = nearest[1];
}

function showDetails() {
  $("details").replaceChildren();
  make("b", formatTime(currentTime), $("details"));
  if (!rows.length) return make("div", "no face detected", $("details"));
  const { face } = rows[selectedFace], sample = sampleAt(face, currentTime);
  const absence = !sample || sample.isInterpolated ? ` is ${describe(face, sample)}` : "";
  make("div", `face ${face.id}${absence}`, $("details"));
  if (sample) showBars(face, sample);
}

/** @type {(seconds: number, faceIndex: number) => void} */
function show(seconds, faceIndex) {
  currentTime = Math.min(data.end, Math.max(data.start, seconds));
  selectedFace = faceIndex;
  showStill(currentTime);
  $("clock").textContent = `${formatTime(currentTime)} / ${formatTime(data.end)}`;
  rows.forEach(({ face, element, canvas, cursor }, index) => {
    element.classList.toggle("selected", index === selectedFace);
    cursor.style.left = `${100 * (currentTime - data.start) / duration}%`;
    canvas.setAttribute("aria-valuenow", currentTime.toFixed(1));
    canvas.setAttribute("aria-valuetext", `${formatTime(currentTime)}: ${describe(face, sampleAt(face, currentTime))}`);
  });
  showDetails();
  // During a seek, the video shows another frame; its boxes are drawn when the seek has ended.
  if (video && (isPlaying() || (!video.seeking && nextSeekTime === null))) drawBoxes();
}

/** @type {(seconds: number, faceIndex: number) => void} */
function goTo(seconds, faceIndex) {
  show(seconds, faceIndex);
  requestSeek();
}

document.title = `${data.name}, analyzed with mien`;
$("title").textContent = data.name;
const omitted = data.face_count > data.faces.length
  ? ` (only the ${data.faces.length} longest on screen are shown)` : "";
$("summary").textContent = `${formatTime(data.start)} to ${formatTime(data.end)}, ` +
  `${formatCount(data.frames, "frame")}, ` +
  `${formatCount(data.face_count, "face")}${omitted}; model ${data.model}`;
for (const label of data.faces.length ? data.labels : []) {
  make("span", label, $("legend")).style.setProperty("--color", data.colors[label]);
}
for (const note of data.notes) make("small", note, $("legend"));
$("shots").hidden = !data.shots.length || !data.faces.length;
$("axis").hidden = $("help").hidden = !data.faces.length;

const rows = data.faces.map(makeRow);
const redraw = () => { rows.forEach(drawRow); drawAxis(); drawShotLabels(); };
new ResizeObserver(redraw).observe($("rows"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
show(data.start, 0);
