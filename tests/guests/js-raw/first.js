/** An author's component of before: raw imports, a synchronous handler, no SDK. Answers what storage and secrets say. */

import { get as getSecret } from "alga:extension/secrets";
import { get as getRecord } from "alga:extension/storage";

export function handler(request) {
  const answers = { url: request.http.url, secret: told(() => getSecret("api_key")), record: told(() => getRecord("a", "b")) };
  const text = JSON.stringify(answers);
  const body = Uint8Array.from(text, (character) => character.charCodeAt(0));
  return { status: 200, headers: [{ name: "content-type", value: "application/json" }], body };
}

function told(call) {
  try {
    return call();
  } catch (error) {
    return error.payload;
  }
}
