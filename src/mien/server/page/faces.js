// Faces: a card with bars for each, and a box over the picture; each leads to the other.

/** @import { Face, FrameRecord, Shares } from "./types" */

import { COLORS } from "./constants.js";
import { button, make } from "./elements.js";

/** @type {Record<string, string>} */
const FLAGS = { too_small: "too small to trust", blurred: "blurred", low_confidence: "perhaps no face",
  tilted: "the head is tilted", turned: "the face looks aside" };
const OPEN = 4;                 // more faces than that begin folded

/** @param {number} share */
export const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** @param {Face} face */
export const sharesOf = (face) => face.smoothed || face.emotions;

/** @param {Face} face */
export function strongest(face) {
  const shares = sharesOf(face);
  return Object.keys(shares).reduce((best, name) => (shares[name] > shares[best] ? name : best));
}

/**
 * Show the faces of a record, and keep what is there of those that are still the same.
 * @param {Element} list
 * @param {HTMLElement} stage
 * @param {Pick<FrameRecord, "width" | "height" | "faces">} record
 */
export function showFaces(list, stage, { width, height, faces }) {
  const isOpen = faces.length <= OPEN;
  stage.style.setProperty("--ratio", `${width / height}`);
  follow(list, faces, () => newCard(isOpen), fillCard);
  follow(stage, faces, newBox, (box, face) => placeBox(box, face, width, height));
  for (const face of faces) link(of(list, face.face_id), of(stage, face.face_id));
}

/**
 * A button that opens all the cards of a list, or closes them.
 * @param {Element} list
 * @param {Element} within
 */
export function foldButton(list, within) {
  const cards = () => [...list.querySelectorAll("details")];
  const fold = button("Open all", within, () => {
    const opens = !cards().every((card) => card.open);
    for (const card of cards()) card.open = opens;
  }, "quiet");
  list.addEventListener("toggle", () => {
    fold.textContent = cards().every((card) => card.open) ? "Close all" : "Open all";
  }, true);
}

/** @type {(within: Element, id: number) => any} */
const of = (within, id) => within.querySelector(`[data-face="${id}"]`);

/**
 * @param {Element} within
 * @param {Face[]} faces
 * @param {() => HTMLElement} makeOne
 * @param {(one: any, face: Face) => void} fill
 */
function follow(within, faces, makeOne, fill) {
  const now = new Set(faces.map((face) => String(face.face_id)));
  const all = () => [.../** @type {NodeListOf<HTMLElement>} */ (within.querySelectorAll("[data-face]"))];
  for (const old of all()) if (!now.has(`${old.dataset.face}`)) old.remove();
  for (const face of faces) {
    let one = of(within, face.face_id);
    if (!one) {
      one = makeOne();
      one.dataset.face = `${face.face_id}`;
      const after = all().find((other) => Number(other.dataset.face) > face.face_id);
      within.insertBefore(one, after || null);
    }
    fill(one, face);
  }
}

/** @param {boolean} isOpen */
function newCard(isOpen) {
  const card = make("details", null, { kind: "face", open: isOpen });
  const summary = make("summary", card);
  make("b", summary, { kind: "number" });
  make("span", summary, { kind: "most" });
  make("i", summary, { kind: "mix" });
  make("span", summary, { kind: "flags" });
  make("dl", card, { kind: "bars" });
  return card;
}

/**
 * @param {HTMLElement} card
 * @param {Face} face
 */
function fillCard(card, face) {
  const shares = sharesOf(face), most = strongest(face);
  /** @type {(kind: string) => any} */
  const part = (kind) => card.querySelector(kind);
  card.style.setProperty("--c", COLORS[most]);
  part(".number").textContent = `Face ${face.face_id}`;
  part(".most").textContent = `${most} ${percent(shares[most])}`;
  part(".flags").textContent = face.flags.map((flag) => FLAGS[flag] || flag).join(", ");
  part(".mix").style.background = mixed(shares);
  const bars = part(".bars");
  for (const [name, share] of Object.entries(shares)) fillBar(bars, name, share, name === most);
}

/**
 * @param {HTMLElement} bars
 * @param {string} name
 * @param {number} share
 * @param {boolean} isMost
 */
function fillBar(bars, name, share, isMost) {
  /** @type {HTMLElement | null} */
  let row = bars.querySelector(`[data-name="${name}"]`);
  if (!row) {
    row = make("div", bars);
    row.dataset.name = name;
    row.style.setProperty("--c", COLORS[name]);
    make("dt", row, { text: name });
    make("dd", row);
  }
  row.classList.toggle("most", isMost);
  row.style.setProperty("--share", `${100 * share}%`);
  if (row.lastChild) row.lastChild.textContent = percent(share);
}

/**
 * All shares in one stripe, as a background.
 * @param {Shares} shares
 */
function mixed(shares) {
  let from = 0;
  const parts = Object.entries(shares).map(([name, share]) => {
    const part = `${COLORS[name]} ${100 * from}% ${100 * (from + share)}%`;
    from += share;
    return part;
  });
  return `linear-gradient(90deg, ${parts.join(", ")})`;
}

function newBox() {
  const box = make("div", null, { kind: "box", ariaHidden: "true" });
  make("b", box);
  return box;
}

/**
 * @param {HTMLElement} box
 * @param {Face} face
 * @param {number} width
 * @param {number} height
 */
function placeBox(box, face, width, height) {
  const [x, y, w, h] = face.box;
  const place = { left: x / width, top: y / height, width: Math.max(w, 0) / width, height: Math.max(h, 0) / height };
  for (const [side, share] of Object.entries(place)) box.style.setProperty(side, `${100 * share}%`);
  box.style.setProperty("--c", COLORS[strongest(face)]);
  box.classList.toggle("high", place.top < 0.08);
  if (box.firstChild) box.firstChild.textContent = `${face.face_id}`;
}

/** @type {WeakMap<Element, Element>} */
const linked = new WeakMap();

/**
 * Pointing at one of the two marks both; a click on the box opens the card.
 * @param {HTMLDetailsElement} card
 * @param {HTMLElement} box
 */
function link(card, box) {
  if (linked.get(card) === box) return;
  linked.set(card, box);
  const mark = (/** @type {boolean} */ isOn) => () => {
    for (const one of [card, box]) one.classList.toggle("on", isOn);
  };
  for (const [begin, end] of [["pointerenter", "pointerleave"], ["focusin", "focusout"]]) {
    for (const one of [card, box]) {
      one.addEventListener(begin, mark(true));
      one.addEventListener(end, mark(false));
    }
  }
  box.addEventListener("click", () => {
    card.open = true;
    const summary = card.querySelector("summary");
    summary?.focus({ preventScroll: true });
    summary?.scrollIntoView({ block: "nearest" });
  });
}
