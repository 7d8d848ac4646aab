// Asking the service, as anybody may; and asking for its token, where it wants one.

import { $, messageOf, pause, say } from "./elements.js";

const SILENT = "The service does not answer. Is it still running?";
const TRIES = 5;                // when it is busy
const LONGEST_WAIT = 10;        // seconds between two of them
export const LATER = 3000;      // milliseconds until a service that did not answer is asked again

let token = sessionStorage.getItem("mien-token") || "";
/** @type {Promise<void> | null} */
let asking = null;              // a promise, while the form waits for a token

class Refusal extends Error {
  /**
   * @param {number} status
   * @param {{ error: string } | null} told
   * @param {string | null} wait
   */
  constructor(status, told, wait) {
    super(told?.error || `The service answered ${status}.`);
    this.status = status;
    this.wait = Math.min(Number(wait) || 1, LONGEST_WAIT);
  }
}

/** @type {(headers?: HeadersInit) => Record<string, string>} */
const withToken = (headers) => 
  ({ .../** @type {Record<string, string>} */ (headers), ...(token && { Authorization: `Bearer ${token}` }) });

// A subprotocol may hold few signs; the service takes the others percent-encoded.
/** @type {(text: string) => string} */
const plain = (text) => encodeURIComponent(text).replace(/[()]/g, (sign) => `%${sign.charCodeAt(0).toString(16)}`);

export const protocols = () => (token ? ["mien", `mien.bearer.${plain(token)}`] : ["mien"]);

/** @type {(more?: Record<string, string>) => URLSearchParams} */
export const query = (more = {}) =>
  new URLSearchParams({ ...($("model").value && { model: $("model").value }), ...more });

/**
 * The answer's body. It waits for a token if one is asked for.
 * @param {string} path
 * @param {RequestInit} [options]
 * @param {"json" | "text" | "blob"} [read]
 * @returns {Promise<any>}
 */
export async function ask(path, options = {}, read = "json") {
  const shown = token;
  /** @type {Response} */
  let answer;
  let body;
  try {
    answer = await fetch(path, { ...options, headers: withToken(options.headers) });
    body = answer.ok ? answer.status !== 204 && (await answer[read]()) : await answer.json().catch(() => null);
  } catch (error) {
    throw isAborted(error) ? error : new Error(SILENT);
  }
  if (answer.ok) return body;
  if (answer.status !== 401) throw new Refusal(answer.status, body, answer.headers.get("Retry-After"));
  if (shown === token) await tokenGiven();
  return ask(path, options, read);
}

/** @param {unknown} error */
const isAborted = (error) => error instanceof DOMException && error.name === "AbortError";

/**
 * The same, again and again while the service is busy.
 * @param {string} path
 * @param {RequestInit} options
 * @param {() => void} tellBusy
 */
export async function askPatiently(path, options, tellBusy) {
  for (let left = TRIES; ; left -= 1) {
    try {
      return await ask(path, options);
    } catch (error) {
      if (!(error instanceof Refusal) || error.status !== 503 || !left) throw error;
      tellBusy();
      await pause(1000 * error.wait);
      options.signal?.throwIfAborted();
    }
  }
}

/**
 * The same, again and again while nobody answers: a laptop may have slept, or its network been away.
 * @param {string} path
 * @param {RequestInit} options
 * @param {"json" | "text" | "blob"} [read]
 */
export async function askUntilAnswered(path, options, read) {
  for (let hasFailed = false; ; ) {
    try {
      const answer = await ask(path, options, read);
      if (hasFailed) say("");
      return answer;
    } catch (error) {
      if (isAborted(error) || (error instanceof Refusal && ![502, 503, 504].includes(error.status))) throw error;
      hasFailed = true;
      say(messageOf(error), true);
      await pause(LATER);
      options.signal?.throwIfAborted();
    }
  }
}

/**
 * Send a large file, and tell how far it is; `fetch` cannot tell that.
 * @param {string} path
 * @param {File} file
 * @param {(share: number) => void} tellShare
 * @param {AbortSignal} signal
 * @returns {Promise<any>}
 */
export function send(path, file, tellShare, signal) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.responseType = "json";
    const headers = withToken({ "Content-Type": file.type || "application/octet-stream" });
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => tellShare(event.loaded / event.total));
    request.addEventListener("load", () => (request.status < 300 ? done(request.response)
      : failed(new Refusal(request.status, request.response, request.getResponseHeader("Retry-After")))));
    request.addEventListener("error", () => failed(new Error(SILENT)));
    request.addEventListener("abort", () => failed(signal.reason));
    signal.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}

function tokenGiven() {
  say(token ? "The service does not know that token." : "This service asks for a token.", true);
  asking ??= new Promise((/** @type {(value: void) => void} */ given) => {
    $("token-form").hidden = false;
    $("token").focus();
    $("token-form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      token = $("token").value.trim();
      sessionStorage.setItem("mien-token", token);
      $("token-form").hidden = true;
      asking = null;
      say("");
      given();
    }, { once: true });
  });
  return asking;
}
