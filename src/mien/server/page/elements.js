// Finding and making elements, and the page's two voices: news, and trouble.

/** @type {(id: string) => any} */
export const $ = (id) => document.getElementById(id);

/**
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {Element | null} [within]
 * @param {{ text?: string | number, kind?: string, [property: string]: any }} [properties]
 * @returns {HTMLElementTagNameMap[Name]}
 */
export function make(name, within, { text, kind, ...others } = {}) {
  const element = Object.assign(document.createElement(name), others);
  if (text !== undefined) element.textContent = `${text}`;
  if (kind) element.className = kind;
  within?.append(element);
  return element;
}

/**
 * @param {string} text
 * @param {Element} within
 * @param {() => void} act
 */
export function button(text, within, act, kind = "") {
  const element = make("button", within, { text, kind, type: "button" });
  element.addEventListener("click", act);
  return element;
}

/** @param {string} text */
export function say(text, isTrouble = false) {
  $("status").textContent = isTrouble ? "" : text;
  $("trouble").textContent = isTrouble ? text : "";
}

/** @param {unknown} error */
export const messageOf = (error) => (error instanceof Error ? error.message : String(error));

/** @type {(number: number, what: string) => string} */
export const count = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;

/** @type {(milliseconds: number) => Promise<void>} */
export const pause = (milliseconds) => new Promise((over) => setTimeout(over, milliseconds));

/**
 * @param {string} name
 * @param {Blob} body
 */
export function save(name, body) {
  const address = URL.createObjectURL(body);
  make("a", null, { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/**
 * A canvas that shows an image or a video's moment, to be drawn on or sent.
 * @param {CanvasImageSource} source
 * @param {number} width
 * @param {number} height
 */
export function canvasOf(source, width, height) {
  const canvas = make("canvas", null, { width, height });
  penOf(canvas).drawImage(source, 0, 0, width, height);
  return canvas;
}

/** @param {HTMLCanvasElement} canvas */
export const penOf = (canvas) => /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));

/** @type {(canvas: HTMLCanvasElement, type: string, quality?: number) => Promise<Blob | null>} */
export const encoded = (canvas, type, quality) =>
  new Promise((done) => canvas.toBlob(done, type, quality));
