// The camera tab: send one frame at a time over a WebSocket and show the faces over the video.

/** @import { Face, FrameRecord } from "./types" */

import { query, request, subprotocols } from "./api.js";
import { $, clearMessages, errorMessage, make, showError, showStatus, sleep, toBlob, toCanvas } from "./dom.js";
import { dominantEmotion, showFaces } from "./faces.js";
import { addImages } from "./images.js";
import { openTab } from "./tabs.js";

const MAX_SIDE = 640;                       // of the frames that are sent, in pixels
const FRAME_RATE_WINDOW = 30;               // responses over which the frame rate is averaged
const MIN_ANNOUNCEMENT_MILLISECONDS = 3000; // between two announcements to screen readers
/** @type {Record<string, string>} */
const CAMERA_ERRORS = {
  NotAllowedError: "The camera is not allowed. Allow it in the browser's settings for this page.",
  NotFoundError: "No camera is connected. Connect one and try again.",
  NotReadableError: "Cannot start the camera. Close other programs that use it and try again.",
  OverconstrainedError: "The selected camera is no longer connected. Select another one.",
};

/**
 * @typedef {{ media: MediaStream, socket?: WebSocket, sentAt: number, responseTimes: number[],
 *   announced: { text: string, time: number } }} Session
 */

/** @type {Session | null} */
let current = null;
let startCount = 0;             // increases at each start and stop, so that an outdated start can end

const video = $("camera-video"), viewer = $("camera-viewer"), list = $("camera-faces");

async function start() {
  stop();
  const id = ++startCount;
  showStatus("Requesting access to the camera …");
  try {
    const media = await openCamera();
    if (id !== startCount) return release(media);
    await startSession(media);
  } catch (error) {
    if (id !== startCount) return;
    stop();
    const message = error instanceof Error && CAMERA_ERRORS[error.name];
    showError(message || `Cannot start the camera: ${errorMessage(error)}`);
  }
}

async function openCamera() {
  if (!navigator.mediaDevices) {
    throw new Error("browsers allow it only over https or on localhost. Open this page over https.");
  }
  const deviceId = $("camera-device").value;
  const constraints = { width: { ideal: 1280 }, height: { ideal: 720 },
    ...(deviceId && { deviceId: { exact: deviceId } }) };
  return navigator.mediaDevices.getUserMedia({ video: constraints });
}

/** @param {MediaStream} media */
async function startSession(media) {
  /** @type {Session} */
  const session = { media, sentAt: 0, responseTimes: [],
    announced: { text: "", time: -MIN_ANNOUNCEMENT_MILLISECONDS } };
  current = session;
  showControls(true);
  video.srcObject = media;
  await video.play();
  if (current === session) connect(session);
  await listDevices(media);
}

/** @param {Session} session */
function connect(session) {
  const url = new URL(`live?${query()}`, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  session.socket?.close();
  const socket = new WebSocket(url, subprotocols());
  session.socket = socket;
  const isCurrent = () => current === session && session.socket === socket;
  let wasOpen = false;
  socket.addEventListener("open", () => {
    wasOpen = true;
    if (isCurrent()) sendFrame(session);
  });
  socket.addEventListener("message", ({ data }) => {
    if (!isCurrent()) return;
    showResponse(session, JSON.parse(data));
    sendFrame(session);
  });
  socket.addEventListener("close", async ({ reason }) => {
    if (!isCurrent()) return;
    const message = reason || await closeReason(wasOpen);
    if (isCurrent()) {
      stop();
      showError(message);
    }
  });
}

/**
 * Browsers hide why a WebSocket was rejected; a plain request can reveal it.
 * @param {boolean} wasOpen
 */
async function closeReason(wasOpen) {
  try {
    await request("models");
  } catch (error) {
    return errorMessage(error);
  }
  return wasOpen ? "The connection to the server was lost. Start the camera again."
    : "The server accepts no more cameras now. Try again in a moment.";
}

/** @param {Session} session */
async function sendFrame(session) {
  while (current === session && !video.videoWidth) await sleep(50);
  if (current !== session) return;
  const { videoWidth: width, videoHeight: height } = video;
  const scale = Math.min(1, MAX_SIDE / Math.max(width, height));
  const body = await toBlob(toCanvas(video, Math.round(scale * width), Math.round(scale * height)),
    "image/jpeg", 0.85);
  if (current !== session || !body || session.socket?.readyState !== WebSocket.OPEN) return;
  session.sentAt = performance.now();
  session.socket.send(body);
}

/** @type {(session: Session, response: FrameRecord | { error: string }) => void} */
function showResponse(session, response) {
  if ("error" in response) return showError(response.error);
  /** @type {Face[]} */
  const faces = response.faces.map((face) => ({ ...face, box: mirrorBox(face.box, response.width) }));
  showFaces(list, viewer, { ...response, faces });
  showSpeed(session, faces.length ? "" : "No face detected. ");
  announceFaces(session, response.faces);
}

/** @type {(box: Face["box"], width: number) => Face["box"]} */
const mirrorBox = ([x, y, w, h], width) => ($("camera-mirror").checked ? [width - x - w, y, w, h] : [x, y, w, h]);

/** @type {(session: Session, prefix: string) => void} */
function showSpeed({ responseTimes, sentAt }, prefix) {
  const now = performance.now();
  responseTimes.push(now);
  if (responseTimes.length > FRAME_RATE_WINDOW) responseTimes.shift();
  const rate = 1000 * (responseTimes.length - 1) / (now - responseTimes[0]) || 0;
  $("camera-speed").textContent =
    `${prefix}${rate.toFixed(0)} frames per second, ${(now - sentAt).toFixed(0)} ms delay`;
}

/**
 * Announce the dominant emotions to screen readers when they change, but not too often.
 * @param {Session} session
 * @param {Face[]} faces
 */
function announceFaces(session, faces) {
  const { announced } = session, now = performance.now();
  const text = faces.map((face) => `face ${face.face_id} ${dominantEmotion(face)}`).join(", ") || "no face";
  if (text === announced.text || now - announced.time < MIN_ANNOUNCEMENT_MILLISECONDS) return;
  session.announced = { text, time: now };
  showStatus(`Now: ${text}.`);
}

function stop() {
  startCount += 1;
  if (!current) return;
  const { media, socket } = current;
  current = null;
  release(media);
  socket?.close();
  video.srcObject = null;
  showFaces(list, viewer, { width: 16, height: 9, faces: [] });
  showControls(false);
  $("camera-speed").textContent = "";
  clearMessages();
}

/** @param {MediaStream} media */
function release(media) {
  for (const track of media.getTracks()) track.stop();
}

/**
 * Show the controls of a running or a stopped camera. Keyboard focus moves from Start to Stop and back.
 * @param {boolean} isRunning
 */
function showControls(isRunning) {
  const focused = document.activeElement;
  for (const id of ["camera-start", "camera-hint"]) $(id).hidden = isRunning;
  for (const id of ["camera-stop", "camera-capture", "camera-live"]) $(id).hidden = !isRunning;
  if (focused === $(isRunning ? "camera-start" : "camera-stop")) $(isRunning ? "camera-stop" : "camera-start").focus();
}

/** @param {MediaStream} media */
async function listDevices(media) {
  const cameras = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "videoinput");
  const selectedId = media.getVideoTracks()[0].getSettings().deviceId;
  $("camera-device").replaceChildren(...cameras.map(({ label, deviceId }, index) => make("option", null,
    { text: label || `Camera ${index + 1}`, value: deviceId, selected: deviceId === selectedId })));
  $("camera-device-label").hidden = cameras.length < 2;
}

async function captureImage() {
  const body = await toBlob(toCanvas(video, video.videoWidth, video.videoHeight), "image/jpeg", 0.92);
  if (!body) return;
  openTab($("image-tab"));
  $("image-tab").focus();
  await addImages([new File([body], "camera.jpg", { type: "image/jpeg" })]);
}

export const reconnect = () => current && connect(current);
export { stop };

$("camera-start").addEventListener("click", start);
$("camera-stop").addEventListener("click", stop);
$("camera-capture").addEventListener("click", captureImage);
$("camera-device").addEventListener("change", start);
$("camera-mirror").addEventListener("change", () => viewer.classList.toggle("mirrored", $("camera-mirror").checked));
