// The camera: one frame at a time goes to the service, and its faces are shown over the video.

/** @import { Face, FrameRecord } from "./types" */

import { $, canvasOf, encoded, make, messageOf, pause, say } from "./elements.js";
import { showFaces, strongest } from "./faces.js";
import { takePictures } from "./pictures.js";
import { ask, protocols, query } from "./service.js";
import { open } from "./tabs.js";

const LONGER_SIDE = 640;        // pixels of what is sent
const PACED = 30;               // answers over which the pace is taken
const CALM = 3000;              // milliseconds between two things said to who does not see the bars
/** @type {Record<string, string>} */
const REFUSED = {
  NotAllowedError: "The camera was not allowed. The browser's settings for this page can allow it.",
  NotFoundError: "There is no camera.",
  NotReadableError: "The camera does not start; perhaps another program has it.",
  OverconstrainedError: "That camera is gone.",
};

/**
 * @typedef {{ media: MediaStream, socket?: WebSocket, sent: number, times: number[],
 *   told: { text: string, at: number } }} Watching
 */

/** @type {Watching | null} */
let watching = null;
let wanted = 0;                 // counts starts and stops, so that a late camera knows it is not wanted

const view = $("camera-view"), stage = $("camera-stage"), list = $("camera-faces");

async function start() {
  stop();
  const mine = ++wanted;
  say("Asking for the camera …");
  try {
    const media = await cameraMedia();
    if (mine !== wanted) return release(media);
    await watch(media);
  } catch (error) {
    if (mine !== wanted) return;
    stop();
    const known = error instanceof Error && REFUSED[error.name];
    say(known || `The camera does not start: ${messageOf(error)}`, true);
  }
}

async function cameraMedia() {
  if (!navigator.mediaDevices) {
    throw new Error("browsers give it only to pages of this machine (localhost) or over https.");
  }
  const which = $("which-camera").value;
  const video = { width: { ideal: 1280 }, height: { ideal: 720 }, ...(which && { deviceId: { exact: which } }) };
  return navigator.mediaDevices.getUserMedia({ video });
}

/** @param {MediaStream} media */
async function watch(media) {
  /** @type {Watching} */
  const mine = { media, sent: 0, times: [], told: { text: "", at: -CALM } };
  watching = mine;
  show(true);
  view.srcObject = media;
  await view.play();
  if (watching === mine) connect(mine);
  await listCameras(media);
}

/** @param {Watching} mine */
function connect(mine) {
  const address = new URL(`live?${query()}`, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  mine.socket?.close();
  const socket = new WebSocket(address, protocols());
  mine.socket = socket;
  const isMine = () => watching === mine && mine.socket === socket;
  let wasOpen = false;
  socket.addEventListener("open", () => {
    wasOpen = true;
    if (isMine()) sendFrame(mine);
  });
  socket.addEventListener("message", ({ data }) => {
    if (!isMine()) return;
    take(mine, JSON.parse(data));
    sendFrame(mine);
  });
  socket.addEventListener("close", async ({ reason }) => {
    if (!isMine()) return;
    const why = reason || await whyClosed(wasOpen);
    if (isMine()) {
      stop();
      say(why, true);
    }
  });
}

/**
 * A browser does not tell pages why a connection was refused; the service's other paths may.
 * @param {boolean} wasOpen
 */
async function whyClosed(wasOpen) {
  try {
    await ask("models");
  } catch (error) {
    return messageOf(error);
  }
  return wasOpen ? "The connection to the service was lost."
    : "The service takes no more cameras now; try again in a moment.";
}

/** @param {Watching} mine */
async function sendFrame(mine) {
  while (watching === mine && !view.videoWidth) await pause(50);
  if (watching !== mine) return;
  const { videoWidth: width, videoHeight: height } = view;
  const share = Math.min(1, LONGER_SIDE / Math.max(width, height));
  const body = await encoded(canvasOf(view, Math.round(share * width), Math.round(share * height)),
    "image/jpeg", 0.85);
  if (watching !== mine || !body || mine.socket?.readyState !== WebSocket.OPEN) return;
  mine.sent = performance.now();
  mine.socket.send(body);
}

/** @type {(mine: Watching, record: FrameRecord | { error: string }) => void} */
function take(mine, record) {
  if ("error" in record) return say(record.error, true);
  /** @type {Face[]} */
  const faces = record.faces.map((face) => ({ ...face, box: mirrored(face.box, record.width) }));
  showFaces(list, stage, { ...record, faces });
  showPace(mine, faces.length ? "" : "No face in sight. ");
  tell(mine, record.faces);
}

/** @type {(box: Face["box"], width: number) => Face["box"]} */
const mirrored = ([x, y, w, h], width) => ($("mirror").checked ? [width - x - w, y, w, h] : [x, y, w, h]);

/** @type {(mine: Watching, before: string) => void} */
function showPace({ times, sent }, before) {
  const now = performance.now();
  times.push(now);
  if (times.length > PACED) times.shift();
  const rate = 1000 * (times.length - 1) / (now - times[0]) || 0;
  $("pace").textContent = `${before}${rate.toFixed(0)} readings a second, ${(now - sent).toFixed(0)} ms behind`;
}

/**
 * The same for those who do not see the bars: what is strongest, when it has changed, and not too often.
 * @param {Watching} mine
 * @param {Face[]} faces
 */
function tell(mine, faces) {
  const { told } = mine, now = performance.now();
  const text = faces.map((face) => `face ${face.face_id} ${strongest(face)}`).join(", ") || "no face";
  if (text === told.text || now - told.at < CALM) return;
  mine.told = { text, at: now };
  say(`Watching: ${text}.`);
}

function stop() {
  wanted += 1;
  if (!watching) return;
  const { media, socket } = watching;
  watching = null;
  release(media);
  socket?.close();
  view.srcObject = null;
  showFaces(list, stage, { width: 16, height: 9, faces: [] });
  show(false);
  $("pace").textContent = "";
  say("");
}

/** @param {MediaStream} media */
function release(media) {
  for (const track of media.getTracks()) track.stop();
}

/**
 * Show what there is to do while it runs, or while it does not; who pressed a button that goes away
 * finds themselves on its counterpart.
 * @param {boolean} isOn
 */
function show(isOn) {
  const focused = document.activeElement;
  for (const id of ["camera-start", "camera-hint"]) $(id).hidden = isOn;
  for (const id of ["camera-stop", "camera-keep", "camera-moment"]) $(id).hidden = !isOn;
  if (focused === $(isOn ? "camera-start" : "camera-stop")) $(isOn ? "camera-stop" : "camera-start").focus();
}

/** @param {MediaStream} media */
async function listCameras(media) {
  const known = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "videoinput");
  const now = media.getVideoTracks()[0].getSettings().deviceId;
  $("which-camera").replaceChildren(...known.map(({ label, deviceId }, place) => make("option", null,
    { text: label || `Camera ${place + 1}`, value: deviceId, selected: deviceId === now })));
  $("cameras").hidden = known.length < 2;
}

async function keep() {
  const body = await encoded(canvasOf(view, view.videoWidth, view.videoHeight), "image/jpeg", 0.92);
  if (!body) return;
  open($("tab-picture"));
  $("tab-picture").focus();
  await takePictures([new File([body], "camera.jpg", { type: "image/jpeg" })]);
}

export const readAgain = () => watching && connect(watching);
export { stop };

$("camera-start").addEventListener("click", start);
$("camera-stop").addEventListener("click", stop);
$("camera-keep").addEventListener("click", keep);
$("which-camera").addEventListener("change", start);
$("mirror").addEventListener("change", () => stage.classList.toggle("mirrored", $("mirror").checked));
