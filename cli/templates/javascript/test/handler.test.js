/** The handler without a platform: mock bindings, plain Node. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { createMockHostBindings } from "@alga/extension-runtime";

import { handler } from "../src/handler.js";

test("hello greets by name", async () => {
  const request = { context: {}, http: { method: "GET", url: "/hello?name=Ada", headers: [] } };
  const answer = await handler(request, createMockHostBindings());
  assert.deepEqual(JSON.parse(new TextDecoder().decode(answer.body)), { message: "Hello, Ada" });
});
