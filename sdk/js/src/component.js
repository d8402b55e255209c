/**
 * The component's export: one request in, one response out, with the author's handler between.
 *
 * A handler that throws ends the invocation as guest failed, after its message went to the log.
 */

import { logError } from "alga:extension/logging";

import { toExecuteResponse } from "./responses.js";

export function bindHandler(handler, host) {
  if (typeof handler !== "function") {
    throw new TypeError("the entry module must export a function named handler");
  }
  return async (request) => {
    try {
      return toExecuteResponse(await handler(requestOf(request), host));
    } catch (error) {
      logError(`handler failed: ${describe(error)}`);
      throw error;
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
