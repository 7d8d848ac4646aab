// The page that `mien serve` offers. It calls the same paths as anybody.

/** @import { Model, Models } from "./types" */

import * as camera from "./camera.js";
import { $, make, messageOf, pause, say } from "./elements.js";
import * as pictures from "./pictures.js";
import { ask, LATER } from "./service.js";
import { open } from "./tabs.js";
import * as videos from "./videos.js";

// Files may be dropped anywhere, and pasted.

/** @param {Iterable<File>} files */
function take(files) {
  const films = [...files].filter(videos.isVideo);
  const stills = [...files].filter((file) => !videos.isVideo(file));
  open($(films.length ? "tab-video" : "tab-picture"));
  if (stills.length) pictures.takePictures(stills);
  if (films.length) videos.takeVideo(films[0], films.length - 1);
}

/** @param {DragEvent} event */
const dropsFiles = (event) => event.dataTransfer?.types.includes("Files");

addEventListener("dragover", (event) => {
  if (!dropsFiles(event)) return;
  event.preventDefault();
  document.body.classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
addEventListener("drop", (event) => {
  if (!dropsFiles(event)) return;
  event.preventDefault();
  document.body.classList.remove("over");
  if (event.dataTransfer) take(event.dataTransfer.files);
});
addEventListener("paste", ({ clipboardData }) => {
  if (clipboardData?.files.length) take(clipboardData.files);
});

// Models.

/** @type {Model[]} */
let known = [];

async function fillModels() {
  /** @type {Models} */
  const told = await ask("models");
  known = told.models;
  $("model").replaceChildren(...known.map(({ name }) =>
    make("option", null, { text: name, value: name, selected: name === told.default })));
  explainModel();
}

function explainModel() {
  const means = known.find(({ name }) => name === $("model").value)?.means;
  $("means").textContent = means ? `estimates ${means}` : "";
}

$("model").addEventListener("change", () => {
  explainModel();
  pictures.readAgain();
  camera.readAgain();
});
document.addEventListener("tab", camera.stop);

async function begin() {
  for (let hasFailed = false; !known.length; ) {
    try {
      await fillModels();
      if (hasFailed) say("");
    } catch (error) {
      hasFailed = true;
      say(messageOf(error), true);
      await pause(LATER);
    }
  }
  await videos.takeUp();
}

begin();
