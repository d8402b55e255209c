/**
 * The component's export: one request in, one response out, with the author's handler between.
 *
 * What the host refused and the handler did not catch becomes an answer that says so. Anything else a handler throws
 * ends the invocation as guest failed, after its message went to the log.
 */

import { logError } from "alga:extension/logging";

import { jsonResponse, toExecuteResponse } from "./responses.js";

const STATUS_OF_REFUSAL = { denied: 403, "not-allowed": 403, transport: 503, "rate-limited": 503, unavailable: 503 };
const OTHER_REFUSAL = 502;

export function bindHandler(handler, host) {
  if (typeof handler !== "function") {
    throw new TypeError("the entry module must export a function named handler");
  }
  return async (request) => {
    try {
      return toExecuteResponse(await handler(requestOf(request), host));
    } catch (error) {
      logError(`handler failed: ${describe(error)}`);
      const refusal = error?.payload?.code ?? error?.payload;
      if (typeof refusal !== "string") throw error;
      return jsonResponse({ error: refusal }, { status: STATUS_OF_REFUSAL[refusal] ?? OTHER_REFUSAL });
    }
  };
}

function requestOf(request) {
  return { context: request.context, http: { ...request.http, body: request.http.body ?? undefined } };
}

function describe(error) {
  const payload = error?.payload === undefined ? "" : ` ${JSON.stringify(error.payload)}`;
  return `${error}${payload}${error?.stack ? `\n${error.stack}` : ""}`;
}
