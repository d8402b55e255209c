/** What a handler answers: small builders, and the shape the world wants. */

const JSON_TYPE = "application/json";

export function jsonResponse(body, { status = 200, headers = [] } = {}) {
  const given = headerList(headers);
  const typed = given.some((header) => header.name.toLowerCase() === "content-type");
  return {
    status,
    headers: typed ? given : [{ name: "content-type", value: JSON_TYPE }, ...given],
    body: new TextEncoder().encode(JSON.stringify(body)),
  };
}

export function emptyResponse(status = 204) {
  return { status, headers: [] };
}

export function textResponse(text, { status = 200, headers = [] } = {}) {
  const given = [{ name: "content-type", value: "text/plain; charset=utf-8" }, ...headerList(headers)];
  return { status, headers: given, body: new TextEncoder().encode(text) };
}

/** What a handler returned -> execute-response: headers as a list, a body of bytes or none. */
export function toExecuteResponse(answer) {
  if (answer === null || typeof answer !== "object") {
    throw new TypeError(`a handler answers {status, headers, body}, this one answered ${typeof answer}`);
  }
  return { status: answer.status ?? 200, headers: headerList(answer.headers ?? []), body: bytesOf(answer.body) };
}

/** The request's body as JSON; undefined where there is none. Throws SyntaxError where it is not JSON. */
export function readJson(request) {
  const body = request.http.body;
  return body && body.length ? JSON.parse(new TextDecoder().decode(body)) : undefined;
}

function headerList(headers) {
  const pairs = Array.isArray(headers) ? headers : Object.entries(headers).map(([name, value]) => ({ name, value }));
  return pairs.map(({ name, value }) => ({ name: String(name), value: String(value) }));
}

export function bytesOf(body) {
  if (body === undefined || body === null) return undefined;
  if (typeof body === "string") return new TextEncoder().encode(body);
  return ArrayBuffer.isView(body) ? body : Uint8Array.from(body);
}
