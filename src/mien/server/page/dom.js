// Create elements, show messages, format numbers, draw images and save files.

/** @type {(id: string) => any} */
export const $ = (id) => document.getElementById(id);

/**
 * Create an element, set its text and properties, and append it to a parent.
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {Element | null} [parent]
 * @param {{ text?: string | number, className?: string, [property: string]: any }} [properties]
 * @returns {HTMLElementTagNameMap[Name]}
 */
export function make(name, parent, { text, ...properties } = {}) {
  const element = Object.assign(document.createElement(name), properties);
  if (text !== undefined) element.textContent = `${text}`;
  parent?.append(element);
  return element;
}

/**
 * @param {string} text
 * @param {Element} parent
 * @param {() => void} onClick
 */
export function makeButton(text, parent, onClick, className = "secondary") {
  const element = make("button", parent, { text, className, type: "button" });
  element.addEventListener("click", onClick);
  return element;
}

/** @param {string} text */
export function showStatus(text) {
  $("status").textContent = text;
  $("error").textContent = "";
}

/** @param {string} text */
export function showError(text) {
  $("status").textContent = "";
  $("error").textContent = text;
}

export const clearMessages = () => showStatus("");

/** @param {unknown} error */
export const errorMessage = (error) => (error instanceof Error ? error.message : String(error));

/** @type {(number: number, singularNoun: string) => string} */
export const formatCount = (number, singularNoun) => `${number} ${singularNoun}${number === 1 ? "" : "s"}`;

/** @type {(share: number, digits?: number) => string} */
export const formatPercent = (share, digits = 1) => `${(100 * share).toFixed(digits)}\u202f%`;

/** @type {(milliseconds: number) => Promise<void>} */
export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/**
 * @param {string} name
 * @param {Blob} body
 */
export function saveFile(name, body) {
  const url = URL.createObjectURL(body);
  make("a", null, { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/**
 * Return a canvas with an image or the current frame of a video.
 * @param {CanvasImageSource} source
 * @param {number} width
 * @param {number} height
 */
export function drawOnCanvas(source, width, height) {
  const canvas = make("canvas", null, { width, height });
  getContext(canvas).drawImage(source, 0, 0, width, height);
  return canvas;
}

/** @param {HTMLCanvasElement} canvas */
export const getContext = (canvas) => /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));

/** @type {(canvas: HTMLCanvasElement, type: string, quality?: number) => Promise<Blob | null>} */
export const encodeCanvas = (canvas, type, quality) =>
  new Promise((resolve) => canvas.toBlob(resolve, type, quality));
