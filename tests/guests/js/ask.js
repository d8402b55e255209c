/**
 * Does what it is asked, and says what came of it: the one guest most fleet tests need.
 *
 *   /ask/<interface>[/<function>][?args=<json list>]   one host call; arguments also as a JSON list in the body.
 *        200 {"ok": result} or {"error": enum case or failure record}; without a function, the interface's first one
 *   /fetch?url=…   the engine's own fetch, past our interface: 200 {"ok": status} or {"error": text}
 *   /script   the body is a list of steps, done in order; 200 {"results": [...]} unless a step says otherwise
 *   an event delivery (POST elsewhere): steps in its payload's `script`, else none
 *   everything else: 200 with the request as the guest saw it
 *
 * Steps: {"ask": [interface, function, args]}, {"trap": true}, {"throw": text}, {"loop": true}, {"grow": true},
 * {"burn": turns}, {"status": n}, {"headers": {…}}, {"body": text}, {"bodySize": bytes}, {"log": text}, {"print": text},
 * {"now": true}, {"repeat": n, "steps": [...]}. Bytes travel as {"base64": text}; where bytes are due, a string is taken as UTF-8.
 */

import * as clients from "alga:extension/clients";
import * as context from "alga:extension/context";
import * as contextV2 from "alga:extension/context-v2";
import * as events from "alga:extension/events";
import * as http from "alga:extension/http";
import * as invoicing from "alga:extension/invoicing";
import * as logging from "alga:extension/logging";
import * as metrics from "alga:extension/metrics";
import * as scheduler from "alga:extension/scheduler";
import * as secrets from "alga:extension/secrets";
import * as services from "alga:extension/services";
import * as storage from "alga:extension/storage";
import * as storageV2 from "alga:extension/storage-v2";
import * as uiProxy from "alga:extension/ui-proxy";
import * as user from "alga:extension/user";
import * as userV2 from "alga:extension/user-v2";

import { jsonResponse, readJson } from "@alga/extension-runtime";

const EMPTY_ITEM = { serviceId: "service", quantity: 1, description: "work", rate: 100 };
const JSON_TYPE = { name: "content-type", value: "application/json" };

/** Each interface with the call made when none is named. */
const INTERFACES = {
  clients: [clients, "list-clients", [{}]],
  context: [context, "get-context", []],
  "context-v2": [contextV2, "get-context", []],
  events: [events, "emit", [{ topic: "asked", payload: "{}" }]],
  http: [http, "fetch", [{ method: "GET", url: "https://example.com/", headers: [] }]],
  invoicing: [invoicing, "create-manual-invoice", [{ clientId: "client", items: [EMPTY_ITEM] }]],
  logging: [logging, "log-info", ["asked"]],
  metrics: [metrics, "add-counter", ["asked", 1, []]],
  scheduler: [scheduler, "list-schedules", []],
  secrets: [secrets, "get", ["api_key"]],
  services: [services, "list-services", [{}]],
  storage: [storage, "get", ["asked", "key"]],
  "storage-v2": [storageV2, "get", ["asked", "key"]],
  "ui-proxy": [uiProxy, "call-route", ["/ping", null]],
  user: [user, "get-user", []],
  "user-v2": [userV2, "get-user", []],
};

export async function handler(request) {
  const [path, query = ""] = request.http.url.split("?", 2);
  const words = path.split("/").filter(Boolean);
  const asked = words.indexOf("ask");
  if (asked >= 0) {
    const given = new URLSearchParams(query).get("args");
    const args = given ? JSON.parse(given) : readJson(request);
    return jsonResponse(ask(words[asked + 1], words[asked + 2], args));
  }
  if (words.at(-1) === "fetch") return jsonResponse(await fetched(new URLSearchParams(query).get("url")));
  const steps = words.at(-1) === "script" ? readJson(request) : deliveredSteps(request);
  return steps ? play(steps) : jsonResponse(described(request));
}

async function fetched(url) {
  try {
    return { ok: (await fetch(url)).status };
  } catch (error) {
    return { error: String(error) };
  }
}

function deliveredSteps(request) {
  if (request.http.method !== "POST") return undefined;
  try {
    return readJson(request)?.payload?.script;
  } catch {
    return undefined;
  }
}

function described({ context: who, http: { method, url, headers, body } }) {
  return { context: who, method, url, headers, body: body ? new TextDecoder().decode(body) : null };
}

function play(steps) {
  const results = [];
  const answer = { status: 200, headers: [JSON_TYPE], body: undefined };
  for (const step of steps) take(step, results, answer);
  return answer.body ? answer : { ...answer, body: JSON.stringify({ results }, plain) };
}

function take(step, results, answer) {
  if (step.ask) results.push(ask(...step.ask));
  if (step.now) results.push({ now: Date.now(), random: Math.random() });
  if (step.log !== undefined) logging.logInfo(step.log);
  if (step.print !== undefined) console.log(step.print);
  if (step.status !== undefined) answer.status = step.status;
  if (step.headers) answer.headers = Object.entries(step.headers).map(([name, value]) => ({ name, value }));
  if (step.body !== undefined) answer.body = step.body;
  if (step.bodySize !== undefined) answer.body = new Uint8Array(step.bodySize);
  if (step.burn) burn(step.burn);
  if (step.grow) grow();
  if (step.loop) for (;;) burn(1);
  if (step.trap) throw new Error("trap asked for");
  if (step.throw !== undefined) throw new Error(step.throw);
  for (let turn = 0; turn < (step.repeat ?? 0); turn += 1) {
    for (const inner of step.steps) take(inner, results, answer);
  }
}

function burn(turns) {
  let number = 1;
  for (let turn = 0; turn < turns; turn += 1) number = (number * 48271) % 2147483647;
  return number;
}

function grow() {
  const kept = [];
  for (;;) kept.push(new Uint8Array(1 << 20).fill(165));
}

function ask(name, functionName, args) {
  const known = INTERFACES[name];
  if (!known) return { error: `no interface ${name}` };
  const [module, usual, usualArgs] = known;
  const wanted = functionName ?? usual;
  const call = module[wanted.replace(/-([a-z0-9])/g, (_, letter) => letter.toUpperCase())];
  if (!call) return { error: `no function ${wanted} in ${name}` };
  try {
    const value = call(...(args ?? (functionName ? [] : usualArgs)).map((arg) => lowered(arg)));
    return { ok: raised(value) ?? null };
  } catch (error) {
    if (error?.payload === undefined) return { error: String(error) };
    return { error: raised(error.payload) };
  }
}

/** JSON -> component value: bytes from base64, and from text in the fields that hold bytes. */
function lowered(value, field) {
  if (typeof value === "string") return BYTE_FIELDS.has(field) ? new TextEncoder().encode(value) : value;
  if (value === null || typeof value !== "object") return INTEGER_FIELDS.has(field) ? u64(value) : value;
  if (typeof value.base64 === "string") return Uint8Array.from(atob(value.base64), (byte) => byte.charCodeAt(0));
  if (Array.isArray(value)) return value.map((inner) => lowered(inner));
  // Only storage v1 has its value as bytes, and only there is a record called by its namespace.
  const v1 = "namespace" in value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [name, lowered(inner, name === "value" && !v1 ? undefined : name)]),
  );
}

const BYTE_FIELDS = new Set(["value", "body"]);
const INTEGER_FIELDS = new Set(["revision", "ifRevision"]);

/** This engine's 64-bit integers: SpiderMonkey takes BigInt only, QuickJS numbers only. */
function u64(value) {
  const spiderMonkey = typeof globalThis.WebAssembly !== "undefined" || typeof globalThis.fetch !== "undefined";
  return typeof value === "number" && spiderMonkey ? BigInt(value) : value;
}

function raised(value) {
  return value === undefined ? undefined : JSON.parse(JSON.stringify(value, plain));
}

function plain(_name, value) {
  if (typeof value === "bigint") return Number(value);
  if (ArrayBuffer.isView(value)) return { base64: btoa(String.fromCharCode(...value)), text: new TextDecoder().decode(value) };
  return value;
}
