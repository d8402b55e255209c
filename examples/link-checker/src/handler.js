/** Watches a list of links: fetches each on demand or on a schedule, remembers the outcome, tells of broken ones. */

import { createRouter, emptyResponse, jsonResponse, readJson } from "@alga/extension-runtime";

const LINKS = "links";
const SHOWN_CHARACTERS = 500;
const FETCHES_PER_CALL = 10;

export const handler = createRouter()
  .get("/hello", async (_request, host) => {
    const { extensionName, version } = await host.contextV2.get();
    return jsonResponse({ message: "Hello from QuickJS", extension: extensionName, version });
  })
  .get("/links", async (_request, host) => jsonResponse(await allLinks(host)))
  .post("/links", async (request, host) => {
    const { url, label } = readJson(request) ?? {};
    if (typeof url !== "string" || !/^https?:\/\//.test(url)) {
      return jsonResponse({ error: "url is missing" }, { status: 400 });
    }
    const id = await host.contextV2.randomHex(8);
    await save(host, { id, url, label: label ?? url, status: null });
    return jsonResponse({ id }, { status: 201 });
  })
  .delete("/links/:id", async (_request, host, { params }) => {
    const existed = await host.storageV2.delete(LINKS, params.id);
    return existed ? emptyResponse() : jsonResponse({ error: "no such link" }, { status: 404 });
  })
  .post("/check", async (_request, host) => {
    const due = (await allLinks(host)).slice(0, FETCHES_PER_CALL);
    const checked = [];
    for (const link of due) checked.push(await check(host, link));
    const broken = checked.filter((link) => !link.ok);
    for (const { id, url, status } of broken) await host.events.emit({ topic: "link.broken", payload: { id, url, status } });
    return jsonResponse({ checked: checked.length, broken: broken.length, links: checked });
  })
  .post("/schedule", async (request, host) => {
    const cron = readJson(request)?.cron ?? "0 * * * *";
    const result = await host.scheduler.create({ endpoint: "POST /check", cron, name: "check links" });
    return jsonResponse(result, { status: result.success ? 201 : 400 });
  })
  .get("/fetch", async (_request, host, { query }) => {
    const url = query.get("url");
    if (!url) return jsonResponse({ error: "url is missing" }, { status: 400 });
    try {
      const answer = await host.http.fetch({ method: "GET", url, headers: [] });
      const text = new TextDecoder().decode(answer.body ?? new Uint8Array());
      return jsonResponse({ status: answer.status, body: text.slice(0, SHOWN_CHARACTERS) });
    } catch (error) {
      return jsonResponse({ error: error.payload ?? String(error) }, { status: 502 });
    }
  });

async function allLinks(host) {
  const links = [];
  let cursor;
  do {
    const page = await host.storageV2.list(LINKS, { cursor, limit: 100 });
    links.push(...page.items.map((item) => JSON.parse(item.value)));
    cursor = page.nextCursor ?? undefined;
  } while (cursor);
  return links;
}

async function save(host, link) {
  await host.storageV2.put(LINKS, { key: link.id, value: JSON.stringify(link) });
}

async function check(host, link) {
  const status = await statusOf(host, link.url);
  const checked = { ...link, status, ok: typeof status === "number" && status < 400 };
  await save(host, checked);
  return checked;
}

/** The HTTP status, or the host's word for why there is none. */
async function statusOf(host, url) {
  try {
    const headers = [{ name: "authorization", value: `Bearer ${await host.secrets.get("site_token")}` }];
    return (await host.http.fetch({ method: "HEAD", url, headers })).status;
  } catch (error) {
    return error.payload ?? String(error);
  }
}
