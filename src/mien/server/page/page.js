// The web page of `mien serve`: accept dropped and pasted files, and show the list of models.

/** @import { Model, Models } from "./types" */

import { request, UNAVAILABLE_RETRY_MILLISECONDS } from "./api.js";
import * as camera from "./camera.js";
import { $, clearMessages, errorMessage, make, showError, sleep } from "./dom.js";
import * as images from "./images.js";
import { openTab } from "./tabs.js";
import * as videos from "./videos.js";

/** @param {Iterable<File>} files */
function analyzeFiles(files) {
  const videoFiles = [...files].filter(videos.isVideo);
  const otherFiles = [...files].filter((file) => !videos.isVideo(file));
  openTab($(videoFiles.length ? "video-tab" : "image-tab"));
  if (otherFiles.length) images.addImages(otherFiles);
  if (videoFiles.length) videos.addVideo(videoFiles[0], videoFiles.length - 1);
}

/** @param {DragEvent} event */
const hasFiles = (event) => event.dataTransfer?.types.includes("Files");

addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  document.body.classList.add("drag-over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("drag-over");
});
addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  document.body.classList.remove("drag-over");
  if (event.dataTransfer) analyzeFiles(event.dataTransfer.files);
});
addEventListener("paste", ({ clipboardData }) => {
  if (clipboardData?.files.length) analyzeFiles(clipboardData.files);
});

/** @type {Model[]} */
let models = [];

async function loadModels() {
  /** @type {Models} */
  const response = await request("models");
  models = response.models;
  $("model").replaceChildren(...models.map(({ name }) =>
    make("option", null, { text: name, value: name, selected: name === response.default })));
  describeModel();
}

function describeModel() {
  const target = models.find(({ name }) => name === $("model").value)?.target;
  $("model-description").textContent = target ? `Estimates ${target}.` : "";
}

$("model").addEventListener("change", () => {
  describeModel();
  images.analyzeAgain();
  camera.reconnect();
});
document.addEventListener("tabchange", camera.stop);

async function initialize() {
  let hasFailed = false;
  while (!models.length) {
    try {
      await loadModels();
      if (hasFailed) clearMessages();
    } catch (error) {
      hasFailed = true;
      showError(errorMessage(error));
      await sleep(UNAVAILABLE_RETRY_MILLISECONDS);
    }
  }
  await videos.restore();
}

initialize();
