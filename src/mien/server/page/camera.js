// The camera tab sends one frame at a time over a WebSocket and shows the faces over the video.

/** @import { Face, FrameRecord } from "./types" */

import { queryParameters, request, subprotocols } from "./api.js";
import { $, clearMessages, drawOnCanvas, encodeCanvas, errorMessage, make, showError, showStatus, sleep }
  from "./dom.js";
import { dominantEmotion, showFaces } from "./faces.js";
import { addImages } from "./images.js";
import { openTab } from "./tabs.js";

const MAX_FRAME_SIDE = 640;                 // longer side of the frames that are sent, in pixels
const FRAME_RATE_RESPONSES = 30;            // number of responses over which the frame rate is averaged
const MIN_ANNOUNCEMENT_MILLISECONDS = 3000; // minimum time between two announcements to screen readers
/** @type {Record<string, string>} */
const CAMERA_ERRORS = {
  NotAllowedError: "Access to the camera is not allowed. Allow it in the browser's settings for this page.",
  NotFoundError: "No camera is connected. Connect one and try again.",
  NotReadableError: "Cannot start the camera. Close other programs that use it and try again.",
  OverconstrainedError: "The selected camera is no longer connected. Start the camera again to use another one.",
};

/**
 * @typedef {{ media: MediaStream, socket?: WebSocket, sentAt: number, responseTimes: number[],
 *   lastAnnouncement: { text: string, time: number } }} Session
 */

/** @type {Session | null} */
let currentSession = null;
let startCount = 0;             // increases with each start and stop; a start with an older value is outdated

const video = $("camera-video"), viewer = $("camera-viewer"), faceList = $("camera-faces");

async function start() {
  stop();
  const startId = ++startCount;
  showStatus("Requesting access to the camera …");
  try {
    const media = await openCamera();
    if (startId !== startCount) return stopTracks(media);
    await startSession(media);
  } catch (error) {
    if (startId !== startCount) return;
    stop();
    const name = error instanceof Error ? error.name : "";
    if (name === "OverconstrainedError") $("camera-device").replaceChildren(); // the browser then selects a camera
    showError(CAMERA_ERRORS[name] || `Cannot start the camera: ${errorMessage(error)}`);
  }
}

async function openCamera() {
  if (!navigator.mediaDevices) {
    throw new Error("browsers allow cameras only over https or on localhost. Open this page over https.");
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
    lastAnnouncement: { text: "", time: -MIN_ANNOUNCEMENT_MILLISECONDS } };
  currentSession = session;
  showControls(true);
  video.srcObject = media;
  await video.play();
  if (currentSession === session) connect(session);
  await listDevices(media);
}

/** @param {Session} session */
function connect(session) {
  const url = new URL(`live?${queryParameters()}`, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  session.socket?.close();
  const socket = new WebSocket(url, subprotocols());
  session.socket = socket;
  const isCurrent = () => currentSession === session && session.socket === socket;
  let wasOpen = false;
  socket.addEventListener("open", () => {
    wasOpen = true;
    if (isCurrent()) sendFrame(session, socket);
  });
  socket.addEventListener("message", ({ data }) => {
    if (!isCurrent()) return;
    showResponse(session, JSON.parse(data));
    sendFrame(session, socket);
  });
  socket.addEventListener("close", async ({ reason }) => {
    if (!isCurrent()) return;
    const message = reason || await fetchCloseReason(wasOpen);
    if (isCurrent()) {
      stop();
      showError(message);
    }
  });
}

/**
 * Return why a WebSocket was closed. Browsers hide the reason of a rejected connection, but a plain request can fail
 * for the same reason.
 * @param {boolean} wasOpen
 */
async function fetchCloseReason(wasOpen) {
  try {
    await request("models");
  } catch (error) {
    return errorMessage(error);
  }
  return wasOpen ? "The connection to the server was lost. Start the camera again."
    : "The server accepts no more cameras at the moment. Try again later.";
}

/** @type {(session: Session, socket: WebSocket) => Promise<void>} */
async function sendFrame(session, socket) {
  while (currentSession === session && !video.videoWidth) await sleep(50);
  if (currentSession !== session) return;
  const { videoWidth: width, videoHeight: height } = video;
  const scale = Math.min(1, MAX_FRAME_SIDE / Math.max(width, height));
  const body = await encodeCanvas(drawOnCanvas(video, Math.round(scale * width), Math.round(scale * height)),
    "image/jpeg", 0.85);
  if (currentSession !== session || !body || socket.readyState !== WebSocket.OPEN) return;
  session.sentAt = performance.now();
  socket.send(body);
}

/** @type {(session: Session, response: FrameRecord | { error: string }) => void} */
function showResponse(session, response) {
  if ("error" in response) return showError(response.error);
  /** @type {Face[]} */
  const faces = response.faces.map((face) => ({ ...face, box: displayedBox(face.box, response.width) }));
  showFaces(faceList, viewer, { ...response, faces });
  showSpeed(session, faces.length ? "" : "No face detected. ");
  announceFaces(session, response.faces);
}

/**
 * Return a box as it is displayed: mirrored if the video is.
 * @type {(box: Face["box"], frameWidth: number) => Face["box"]}
 */
const displayedBox = ([x, y, w, h], frameWidth) =>
  ($("camera-mirror").checked ? [frameWidth - x - w, y, w, h] : [x, y, w, h]);

/** @type {(session: Session, prefix: string) => void} */
function showSpeed({ responseTimes, sentAt }, prefix) {
  const now = performance.now();
  responseTimes.push(now);
  if (responseTimes.length > FRAME_RATE_RESPONSES) responseTimes.shift();
  const rate = 1000 * (responseTimes.length - 1) / (now - responseTimes[0]) || 0; // 0/0 for the first response
  $("camera-speed").textContent =
    `${prefix}${rate.toFixed(0)} frames per second, ${(now - sentAt).toFixed(0)} ms delay`;
}

/**
 * Announce changes of the dominant emotions to screen readers, at most every few seconds.
 * @param {Session} session
 * @param {Face[]} faces
 */
function announceFaces(session, faces) {
  const { lastAnnouncement } = session, now = performance.now();
  const text = faces.map((face) => `face ${face.face_id} ${dominantEmotion(face)}`).join(", ") || "no face";
  if (text === lastAnnouncement.text || now - lastAnnouncement.time < MIN_ANNOUNCEMENT_MILLISECONDS) return;
  session.lastAnnouncement = { text, time: now };
  showStatus(`Now: ${text}.`);
}

function stop() {
  startCount += 1;
  if (!currentSession) return;
  const { media, socket } = currentSession;
  currentSession = null;
  stopTracks(media);
  socket?.close();
  video.srcObject = null;
  showFaces(faceList, viewer, { width: 16, height: 9, faces: [] });
  showControls(false);
  $("camera-speed").textContent = "";
  clearMessages();
}

/** @param {MediaStream} media */
function stopTracks(media) {
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
  const body = await encodeCanvas(drawOnCanvas(video, video.videoWidth, video.videoHeight), "image/jpeg", 0.92);
  if (!body) return;
  openTab($("image-tab"));
  $("image-tab").focus();
  await addImages([new File([body], "camera.jpg", { type: "image/jpeg" })]);
}

/** Open a new connection, with the selected model, if the camera is running. */
export const reconnect = () => currentSession && connect(currentSession);
export { stop };

$("camera-start").addEventListener("click", start);
$("camera-stop").addEventListener("click", stop);
$("camera-capture").addEventListener("click", captureImage);
$("camera-device").addEventListener("change", start);
$("camera-mirror").addEventListener("change", () => viewer.classList.toggle("mirrored", $("camera-mirror").checked));
