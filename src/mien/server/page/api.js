// Send requests to the server, retry them, report the progress of uploads, and prompt for a token.

import { $, clearMessages, errorMessage, showError, sleep } from "./dom.js";

const NO_RESPONSE = "The server does not respond. Check that it is still running.";
const MAX_BUSY_RETRIES = 5;             // maximum number of retries while the server is busy
const MAX_RETRY_AFTER_SECONDS = 10;     // maximum wait before a retry; a longer Retry-After is shortened
export const UNAVAILABLE_RETRY_MILLISECONDS = 3000; // time between retries while the server does not respond

let token = sessionStorage.getItem("mien-token") || "";
/** @type {Promise<void> | null} */
let tokenPrompt = null;                 // pending while the token form is shown, otherwise null

class ErrorResponse extends Error {
  /**
   * @param {number} status
   * @param {{ error: string } | null} body
   * @param {string | null} retryAfter
   */
  constructor(status, body, retryAfter) {
    super(body?.error || `The server responded with status ${status}.`);
    this.status = status;
    this.retrySeconds = Math.min(Number(retryAfter) || 1, MAX_RETRY_AFTER_SECONDS);
  }
}

/** @type {(headers?: HeadersInit) => Record<string, string>} */
const headersWithToken = (headers) =>
  ({ .../** @type {Record<string, string>} */ (headers), ...(token && { Authorization: `Bearer ${token}` }) });

/**
 * Percent-encode the characters that are not allowed in the name of a WebSocket subprotocol.
 * @type {(text: string) => string}
 */
const encodeToken = (text) =>
  encodeURIComponent(text).replace(/[()]/g, (character) => `%${character.charCodeAt(0).toString(16)}`);

/** Return the subprotocols of a WebSocket, one of which has the token: a page cannot set the headers of a WebSocket. */
export const subprotocols = () => (token ? ["mien", `mien.bearer.${encodeToken(token)}`] : ["mien"]);

/**
 * Return the query parameters with the selected model.
 * @type {(parameters?: Record<string, string>) => URLSearchParams}
 */
export const queryParameters = (parameters = {}) =>
  new URLSearchParams({ ...($("model").value && { model: $("model").value }), ...parameters });

/**
 * Send a request and return the body of the response, or undefined if it has none (204). If the server requires a
 * token, wait until one is entered. An error response is thrown as an ErrorResponse.
 * @param {string} path
 * @param {RequestInit} [options]
 * @param {"json" | "text" | "blob"} [format]  format in which the body is returned
 * @returns {Promise<any>}
 */
export async function request(path, options = {}, format = "json") {
  const sentToken = token;
  /** @type {Response} */
  let response;
  let body;
  try {
    response = await fetch(path, { ...options, headers: headersWithToken(options.headers) });
    if (!response.ok) body = await response.json().catch(() => null);
    else if (response.status !== 204) body = await response[format]();
  } catch (error) {
    throw isAborted(error) ? error : new Error(NO_RESPONSE);
  }
  if (response.ok) return body;
  if (response.status !== 401) throw new ErrorResponse(response.status, body, response.headers.get("Retry-After"));
  // Do not prompt if a new token has been entered since the request was sent.
  if (sentToken === token) await promptForToken();
  return request(path, options, format);
}

/** @param {unknown} error */
const isAborted = (error) => error instanceof DOMException && error.name === "AbortError";

/**
 * Send a request, and retry it while the server is busy (503).
 * @param {string} path
 * @param {RequestInit} options
 * @param {() => void} onBusy  called before each retry
 */
export async function retryWhileBusy(path, options, onBusy) {
  for (let remainingRetries = MAX_BUSY_RETRIES; ; remainingRetries -= 1) {
    try {
      return await request(path, options);
    } catch (error) {
      if (!(error instanceof ErrorResponse) || error.status !== 503 || !remainingRetries) throw error;
      onBusy();
      await sleep(1000 * error.retrySeconds);
      options.signal?.throwIfAborted();
    }
  }
}

/**
 * Send a request, and retry it while the server cannot be reached, for example after standby.
 * @param {string} path
 * @param {RequestInit} options
 * @param {"json" | "text" | "blob"} [format]
 */
export async function retryWhileUnavailable(path, options, format) {
  let hasFailed = false;
  while (true) {
    try {
      const body = await request(path, options, format);
      if (hasFailed) clearMessages();
      return body;
    } catch (error) {
      const isUnavailable = !(error instanceof ErrorResponse) || [502, 503, 504].includes(error.status);
      if (isAborted(error) || !isUnavailable) throw error;
      hasFailed = true;
      showError(errorMessage(error));
      await sleep(UNAVAILABLE_RETRY_MILLISECONDS);
      options.signal?.throwIfAborted();
    }
  }
}

/**
 * Upload a file and return the body of the response. If the server requires a token, wait until one is entered.
 * @param {string} path
 * @param {File} file
 * @param {(fraction: number) => void} onProgress  called with the sent fraction, 0 to 1
 * @param {AbortSignal} signal
 * @returns {Promise<any>}
 */
export async function upload(path, file, onProgress, signal) {
  await tokenPrompt; // without the token, the upload would be rejected
  signal.throwIfAborted();
  const sentToken = token;
  try {
    return await uploadOnce(path, file, onProgress, signal);
  } catch (error) {
    if (!(error instanceof ErrorResponse) || error.status !== 401) throw error;
  }
  if (sentToken === token) await promptForToken();
  return upload(path, file, onProgress, signal);
}

/**
 * Upload a file with XMLHttpRequest, which reports progress; `fetch` does not.
 * @type {(path: string, file: File, onProgress: (fraction: number) => void, signal: AbortSignal) => Promise<any>}
 */
function uploadOnce(path, file, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.open("POST", path);
    xhr.responseType = "json";
    const headers = headersWithToken({ "Content-Type": file.type || "application/octet-stream" });
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    xhr.upload.addEventListener("progress", (event) => onProgress(event.loaded / event.total));
    xhr.addEventListener("load", () => (xhr.status < 300 ? resolve(xhr.response)
      : reject(new ErrorResponse(xhr.status, xhr.response, xhr.getResponseHeader("Retry-After")))));
    xhr.addEventListener("error", () => reject(new Error(NO_RESPONSE)));
    xhr.addEventListener("abort", () => reject(signal.reason));
    signal.addEventListener("abort", () => xhr.abort());
    xhr.send(file);
  });
}

/** Show the token form and return a promise that is resolved when a token is entered. */
function promptForToken() {
  showError(token ? "The server rejected this token. Check it and try again."
    : "This server requires a token. Enter it to continue.");
  tokenPrompt ??= new Promise((/** @type {(value: void) => void} */ resolve) => {
    $("token-form").hidden = false;
    $("token").focus();
    $("token-form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      token = $("token").value.trim();
      sessionStorage.setItem("mien-token", token);
      $("token-form").hidden = true;
      tokenPrompt = null;
      clearMessages();
      resolve();
    }, { once: true });
  });
  return tokenPrompt;
}
