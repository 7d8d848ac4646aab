// Show each face as a card with bars and as a box over the image, linked to each other.

/** @import { Face, FrameRecord, Shares } from "./types" */

import { COLORS, FLAGS } from "./constants.js";
import { formatPercent, make, makeButton } from "./dom.js";

const MAX_OPEN_CARDS = 4;       // if there are more faces, new cards are closed
const LABEL_SPACE = 0.08;       // minimum space above a box for its label, as a fraction of the image's height

/** @param {Face} face */
const displayedShares = (face) => face.smoothed || face.emotions;

/** @param {Face} face */
export function dominantEmotion(face) {
  const shares = displayedShares(face);
  return Object.keys(shares).reduce((best, name) => (shares[name] > shares[best] ? name : best));
}

/**
 * Show the faces of a frame record. Update the elements of faces that are already shown.
 * @param {Element} list
 * @param {HTMLElement} viewer
 * @param {Pick<FrameRecord, "width" | "height" | "faces">} record
 */
export function showFaces(list, viewer, { width, height, faces }) {
  const isOpen = faces.length <= MAX_OPEN_CARDS;
  viewer.style.setProperty("--aspect-ratio", `${width / height}`);
  updateChildren(list, faces, () => makeCard(isOpen), updateCard);
  updateChildren(viewer, faces, makeBox, (box, face) => updateBox(box, face, width, height));
  for (const face of faces) linkCardAndBox(findChild(list, face.face_id), findChild(viewer, face.face_id));
}

/**
 * Make a button that opens or closes all cards of a list.
 * @param {Element} list
 * @param {Element} parent
 */
export function makeOpenAllButton(list, parent) {
  const cards = () => [...list.querySelectorAll("details")];
  const button = makeButton("Open all", parent, () => {
    const shouldOpen = cards().some((card) => !card.open);
    for (const card of cards()) card.open = shouldOpen;
  });
  list.addEventListener("toggle", () => {
    button.textContent = cards().every((card) => card.open) ? "Close all" : "Open all";
  }, { capture: true }); // toggle events do not bubble
}

/** @type {(parent: Element, id: number) => any} */
const findChild = (parent, id) => parent.querySelector(`[data-face-id="${id}"]`);

/**
 * Add, update and remove child elements so that each face has one, in the order of the face ids.
 * @param {Element} parent
 * @param {Face[]} faces
 * @param {() => HTMLElement} makeChild
 * @param {(child: any, face: Face) => void} updateChild
 */
function updateChildren(parent, faces, makeChild, updateChild) {
  const ids = new Set(faces.map((face) => String(face.face_id)));
  const children = () => [.../** @type {NodeListOf<HTMLElement>} */ (parent.querySelectorAll("[data-face-id]"))];
  for (const child of children()) if (!ids.has(`${child.dataset.faceId}`)) child.remove();
  for (const face of faces) {
    let child = findChild(parent, face.face_id);
    if (!child) {
      child = makeChild();
      child.dataset.faceId = `${face.face_id}`;
      const next = children().find((other) => Number(other.dataset.faceId) > face.face_id);
      parent.insertBefore(child, next || null);
    }
    updateChild(child, face);
  }
}

/** @param {boolean} isOpen */
function makeCard(isOpen) {
  const card = make("details", null, { className: "face", open: isOpen });
  const summary = make("summary", card);
  make("b", summary, { className: "face-id" });
  make("span", summary, { className: "dominant" });
  make("i", summary, { className: "share-strip" });
  make("span", summary, { className: "flags" });
  make("dl", card, { className: "bars" });
  return card;
}

/**
 * @param {HTMLElement} card
 * @param {Face} face
 */
function updateCard(card, face) {
  const shares = displayedShares(face), dominant = dominantEmotion(face);
  /** @type {(selector: string) => any} */
  const find = (selector) => card.querySelector(selector);
  card.style.setProperty("--color", COLORS[dominant]);
  find(".face-id").textContent = `Face ${face.face_id}`;
  find(".dominant").textContent = `${dominant} ${formatPercent(shares[dominant])}`;
  find(".flags").textContent = face.flags.map((flag) => FLAGS[flag] || flag).join(", ");
  find(".share-strip").style.background = gradient(shares);
  const bars = find(".bars");
  for (const [name, share] of Object.entries(shares)) updateBar(bars, name, share, name === dominant);
}

/**
 * @param {HTMLElement} bars
 * @param {string} name
 * @param {number} share
 * @param {boolean} isDominant
 */
function updateBar(bars, name, share, isDominant) {
  /** @type {HTMLElement | null} */
  let bar = bars.querySelector(`[data-emotion="${name}"]`);
  if (!bar) {
    bar = make("div", bars);
    bar.dataset.emotion = name;
    bar.style.setProperty("--color", COLORS[name]);
    make("dt", bar, { text: name });
    make("dd", bar);
  }
  bar.classList.toggle("dominant", isDominant);
  bar.style.setProperty("--share", `${100 * share}%`);
  if (bar.lastChild) bar.lastChild.textContent = formatPercent(share);
}

/**
 * Return a CSS background that shows all shares side by side.
 * @param {Shares} shares
 */
function gradient(shares) {
  let start = 0;
  const stops = Object.entries(shares).map(([name, share]) => {
    const stop = `${COLORS[name]} ${100 * start}% ${100 * (start + share)}%`;
    start += share;
    return stop;
  });
  return `linear-gradient(90deg, ${stops.join(", ")})`;
}

function makeBox() {
  const box = make("div", null, { className: "box", ariaHidden: "true" });
  make("b", box);
  return box;
}

/**
 * @param {HTMLElement} box
 * @param {Face} face
 * @param {number} width
 * @param {number} height
 */
function updateBox(box, face, width, height) {
  const [x, y, w, h] = face.box;
  const position = { left: x / width, top: y / height, width: w / width, height: h / height };
  for (const [property, fraction] of Object.entries(position)) box.style.setProperty(property, `${100 * fraction}%`);
  box.style.setProperty("--color", COLORS[dominantEmotion(face)]);
  box.classList.toggle("label-inside", position.top < LABEL_SPACE);
  if (box.firstChild) box.firstChild.textContent = `${face.face_id}`;
}

/** @type {WeakMap<Element, Element>} */
const linkedBoxes = new WeakMap();

/**
 * Highlight a card and its box when either has hover or focus; open the card on a click on the box.
 * @param {HTMLDetailsElement} card
 * @param {HTMLElement} box
 */
function linkCardAndBox(card, box) {
  if (linkedBoxes.get(card) === box) return;
  linkedBoxes.set(card, box);
  const highlight = (/** @type {boolean} */ isHighlighted) => () => {
    for (const element of [card, box]) element.classList.toggle("highlighted", isHighlighted);
  };
  for (const [startEvent, endEvent] of [["pointerenter", "pointerleave"], ["focusin", "focusout"]]) {
    for (const element of [card, box]) {
      element.addEventListener(startEvent, highlight(true));
      element.addEventListener(endEvent, highlight(false));
    }
  }
  box.addEventListener("click", () => {
    card.open = true;
    const summary = card.querySelector("summary");
    summary?.focus({ preventScroll: true });
    summary?.scrollIntoView({ block: "nearest" });
  });
}
