/**
 * QuickJS has no turn of its own to run promises in, and none of the web's globals: both are brought along.
 *
 * The build lowers async functions to generators, so every promise of the guest is ours and settles in `drain`.
 */

import "./globals.js";

import { drain } from "./promise.js";

export const u64 = Number;

/** A synchronous export over an async handler: all host calls are synchronous, so draining once settles it. */
export function exported(handler) {
  return (request) => {
    let outcome;
    handler(request).then(
      (value) => (outcome = { value }),
      (error) => (outcome = { error }),
    );
    drain();
    if (!outcome) throw new Error("the handler waits for something that never happens");
    if ("error" in outcome) throw outcome.error;
    return outcome.value;
  };
}
