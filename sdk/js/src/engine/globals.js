/** The globals a handler may expect and QuickJS does not have. Imported first, for what it sets. */

import { logError, logInfo, logWarn } from "alga:extension/logging";

import { TextDecoder, TextEncoder } from "./text.js";
import { QueuedPromise, enqueue } from "./promise.js";
import { URL, URLSearchParams } from "./url.js";

const line = (log) => (...parts) => log(parts.map(shown).join(" "));

Object.assign(globalThis, {
  Promise: QueuedPromise,
  queueMicrotask: enqueue,
  TextDecoder,
  TextEncoder,
  URL,
  URLSearchParams,
  console: {
    debug: line(logInfo),
    error: line(logError),
    info: line(logInfo),
    log: line(logInfo),
    warn: line(logWarn),
  },
});

function shown(value) {
  if (typeof value === "string") return value;
  if (value instanceof Error) return value.stack ? `${value}\n${value.stack}` : String(value);
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}
