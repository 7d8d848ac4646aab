// Finding and making elements, and the page's two voices: news, and trouble.

export const $ = (id) => document.getElementById(id);

export function make(name, within, { text, kind, ...others } = {}) {
  const element = Object.assign(document.createElement(name), others);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  within?.append(element);
  return element;
}

export function button(text, within, act, kind = "") {
  const element = make("button", within, { text, kind, type: "button" });
  element.addEventListener("click", act);
  return element;
}

export function say(text, isTrouble = false) {
  $("status").textContent = isTrouble ? "" : text;
  $("trouble").textContent = isTrouble ? text : "";
}

export const count = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;

export const pause = (milliseconds) => new Promise((over) => setTimeout(over, milliseconds));

export function save(name, body) {
  const address = URL.createObjectURL(body);
  make("a", null, { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

// What a canvas shows of an image or a video's moment, for whoever wants to draw on it or send it.
export function canvasOf(source, width, height) {
  const canvas = make("canvas", null, { width, height });
  canvas.getContext("2d").drawImage(source, 0, 0, width, height);
  return canvas;
}

export const encoded = (canvas, type, quality) =>
  new Promise((done) => canvas.toBlob(done, type, quality));
