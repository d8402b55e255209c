/** The SDK's public names, as an author's test would use them. */

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  callProxyJson, createMockHostBindings, createRouter, emptyResponse, jsonResponse, normalizeUserData, readJson,
} from "../src/index.js";
import { toExecuteResponse } from "../src/responses.js";

const requestOf = (method, url, body) => ({
  context: { tenantId: "t", extensionId: "e" },
  http: { method, url, headers: [], body: body === undefined ? undefined : new TextEncoder().encode(body) },
});
const textOf = (response) => new TextDecoder().decode(response.body);

test("jsonResponse answers 200 with a JSON content type unless told otherwise", () => {
  const plain = jsonResponse({ a: 1 });
  assert.equal(plain.status, 200);
  assert.deepEqual(plain.headers, [{ name: "content-type", value: "application/json" }]);
  assert.equal(textOf(plain), '{"a":1}');
  const told = jsonResponse([], { status: 201, headers: { "Content-Type": "application/problem+json" } });
  assert.deepEqual([told.status, told.headers], [201, [{ name: "Content-Type", value: "application/problem+json" }]]);
});

test("emptyResponse is 204 without a body", () => {
  assert.deepEqual(toExecuteResponse(emptyResponse()), { status: 204, headers: [], body: undefined });
});

test("a handler may answer text and headers as an object; nothing at all is refused", () => {
  const answer = toExecuteResponse({ headers: { etag: "x" }, body: "text" });
  assert.deepEqual([answer.status, answer.headers, textOf(answer)], [200, [{ name: "etag", value: "x" }], "text"]);
  assert.throws(() => toExecuteResponse(undefined), /answers/);
});

test("readJson is undefined without a body and throws on text that is not JSON", () => {
  assert.equal(readJson(requestOf("GET", "/")), undefined);
  assert.throws(() => readJson(requestOf("POST", "/", "{")), SyntaxError);
});

test("the router matches method, segments and parameters, else answers 404", async () => {
  const router = createRouter()
    .get("/a/:id", async (_request, _host, { params, query }) => jsonResponse({ ...params, q: query.get("q") }))
    .post("/a", async () => emptyResponse());
  assert.equal(textOf(await router(requestOf("GET", "/a/x%20y?q=1"))), '{"id":"x y","q":"1"}');
  assert.equal((await router(requestOf("POST", "/a"))).status, 204);
  assert.equal((await router(requestOf("DELETE", "/a"))).status, 404);
});

test("mock bindings keep revisions, refuse what was not configured, and take overrides", async () => {
  const host = createMockHostBindings({ secrets: { get: async (key) => `secret of ${key}` } });
  const value = Uint8Array.of(1);
  assert.equal((await host.storage.put({ namespace: "n", key: "k", value })).revision, 1);
  assert.equal((await host.storage.put({ namespace: "n", key: "k", value, revision: 1 })).revision, 2);
  await assert.rejects(host.storage.put({ namespace: "n", key: "k", value, revision: 1 }), { payload: "conflict" });
  await assert.rejects(host.storage.get("n", "absent"), { payload: "missing" });
  await assert.rejects(host.http.fetch({ url: "https://x/" }), { payload: "not-allowed" });
  assert.equal(await host.secrets.get("k"), "secret of k");
  assert.deepEqual(await host.secrets.list(), []);
});

test("users of both interface versions have one shape", () => {
  const base = { tenantId: "t", clientName: "c", userId: "u", userEmail: "e", userName: "n", userType: "client" };
  assert.deepEqual(normalizeUserData(base), { ...base, clientId: undefined, additionalFields: {} });
  const second = { ...base, clientId: "c1", additionalFields: [["locale", "de"]] };
  assert.deepEqual(normalizeUserData(second), { ...base, clientId: "c1", additionalFields: { locale: "de" } });
});

test("callProxyJson sends JSON and reads JSON, null where nothing came", async () => {
  const calls = [];
  const callRoute = async (route, payload) => {
    calls.push([route, payload && new TextDecoder().decode(payload)]);
    return route === "/empty" ? new Uint8Array() : new TextEncoder().encode('{"ok":true}');
  };
  assert.deepEqual(await callProxyJson({ callRoute }, "/x", { a: 1 }), { ok: true });
  assert.equal(await callProxyJson({ callRoute }, "/empty"), null);
  assert.deepEqual(calls, [["/x", '{"a":1}'], ["/empty", undefined]]);
});
