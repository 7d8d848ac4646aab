// Draw the detected faces on an image.

/** @import { Face, FrameRecord } from "./types" */

import { COLORS } from "./constants.js";
import { drawOnCanvas, formatPercent, getContext } from "./dom.js";

/**
 * Return a canvas with the image, a box around each face, and its dominant emotion.
 * @param {HTMLImageElement} image
 * @param {FrameRecord} record
 */
export function annotate(image, { width, height, faces }) {
  const canvas = drawOnCanvas(image, width, height);
  const context = getContext(canvas);
  // Labels grow with the image, and are smaller on narrow faces.
  const maxFontSize = Math.max(12, width / 60, height / 60);
  /** @param {Face} face */
  const fontSizeOf = ({ box: [, , boxWidth] }) => Math.max(maxFontSize / 2, Math.min(maxFontSize, boxWidth / 7));
  context.textBaseline = "middle";
  for (const face of faces) drawBox(context, face, fontSizeOf(face));
  for (const face of faces) drawLabel(context, face, fontSizeOf(face), width);
  return canvas;
}

/** @type {(context: CanvasRenderingContext2D, face: Face, fontSize: number) => void} */
function drawBox(context, { box, dominant_emotion: dominant }, fontSize) {
  // A dark outline makes the colored box visible on any background.
  const strokes = [{ color: "#000a", width: fontSize / 4 }, { color: COLORS[dominant], width: fontSize / 7 }];
  for (const { color, width } of strokes) {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.strokeRect(...box);
  }
}

/** @type {(context: CanvasRenderingContext2D, face: Face, fontSize: number, imageWidth: number) => void} */
function drawLabel(context, face, fontSize, imageWidth) {
  const { face_id: id, box: [x, y], emotions, dominant_emotion: dominant, flags } = face;
  const suffix = flags.length ? " ?" : ""; // flags mean that the shares may be unreliable
  const text = `${id}  ${dominant} ${formatPercent(emotions[dominant])}${suffix}`;
  context.font = `600 ${fontSize}px system-ui, sans-serif`;
  const height = 1.5 * fontSize, width = context.measureText(text).width + fontSize;
  const left = Math.max(0, Math.min(x, imageWidth - width)), top = Math.max(0, y - height);
  context.fillStyle = "#101418e0";
  context.fillRect(left, top, width, height);
  context.fillStyle = COLORS[dominant];
  context.fillText(text, left + fontSize / 2, top + height / 2);
}
