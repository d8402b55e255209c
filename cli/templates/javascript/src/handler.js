/** The handlers. Each is called with the request, the host's APIs, and what the path and query hold. */

import { createRouter, jsonResponse, readJson } from "@alga/extension-runtime";

const NOTES = "notes";

export const handler = createRouter()
  .get("/hello", async (_request, _host, { query }) => jsonResponse({ message: `Hello, ${query.get("name") ?? "world"}` }))
  .get("/notes", async (_request, host) => {
    const page = await host.storageV2.list(NOTES, { limit: 100 });
    return jsonResponse(page.items.map((item) => ({ id: item.key, text: item.value })));
  })
  .post("/notes", async (request, host) => {
    const text = readJson(request)?.text;
    if (typeof text !== "string") return jsonResponse({ error: "text is missing" }, { status: 400 });
    const id = await host.contextV2.randomHex(8);
    await host.storageV2.put(NOTES, { key: id, value: text });
    return jsonResponse({ id }, { status: 201 });
  });
