/** What is brought along for QuickJS, held against what Node has. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { QueuedPromise, drain } from "../src/engine/promise.js";
import * as text from "../src/engine/text.js";
import * as url from "../src/engine/url.js";

/** The log a scenario writes, run on our promises and on the engine's. */
async function bothLogs(scenario) {
  const ours = [];
  scenario(QueuedPromise, (entry) => ours.push(entry));
  drain();
  const theirs = [];
  scenario(Promise, (entry) => theirs.push(entry));
  await new Promise((resolve) => setTimeout(resolve, 5));
  return { ours, theirs };
}

const SCENARIOS = {
  "jobs run after the code that made them, in order": (P, log) => {
    P.resolve(1).then(log);
    log("first");
    P.resolve(2).then(log);
  },
  "chains interleave as the standard says": (P, log) => {
    P.resolve().then(() => log("a1")).then(() => log("a2")).then(() => log("a3"));
    P.resolve().then(() => log("b1")).then(() => log("b2"));
  },
  "a thenable is followed": (P, log) => {
    P.resolve({ then: (resolve) => resolve("followed") }).then(log);
  },
  "a returned promise delays the chain": (P, log) => {
    P.resolve().then(() => P.resolve("inner")).then(log);
    P.resolve().then(() => log("one")).then(() => log("two")).then(() => log("three"));
  },
  "errors travel to the first catch": (P, log) => {
    P.reject(new Error("x")).then(() => log("never")).catch((error) => log(error.message)).then(() => log("after"));
  },
  "a thrown error rejects": (P, log) => {
    new P(() => {
      throw new Error("thrown");
    }).catch((error) => log(error.message));
  },
  "only the first settlement counts": (P, log) => {
    new P((resolve, reject) => {
      resolve("kept");
      reject(new Error("ignored"));
    }).then(log);
  },
  "finally passes the value on and can replace an error": (P, log) => {
    P.resolve("value").finally(() => "ignored").then(log);
    P.resolve("value").finally(() => P.reject(new Error("from finally"))).catch((error) => log(error.message));
  },
  "all keeps the order of its input": (P, log) => {
    P.all([P.resolve().then(() => "slow"), "plain"]).then((values) => log(values.join()));
    P.all([]).then((values) => log(values.length));
    P.all([P.reject(new Error("one failed")), "x"]).catch((error) => log(error.message));
  },
  "allSettled, any and race": (P, log) => {
    P.allSettled([P.reject(new Error("e")), 1]).then((all) => log(all.map((one) => one.status).join()));
    P.any([P.reject(new Error("e")), P.resolve("any")]).then(log);
    P.any([P.reject(new Error("e"))]).catch((error) => log(error.constructor.name));
    P.race([P.resolve("race"), P.resolve("late")]).then(log);
  },
};

for (const [name, scenario] of Object.entries(SCENARIOS)) {
  test(`promises: ${name}`, async () => {
    const { ours, theirs } = await bothLogs(scenario);
    assert.ok(theirs.length > 0);
    assert.deepEqual([...ours].sort(), [...theirs].sort());
    // `finally`, `all` and thenables may take a turn more or less; plain chains may not.
    if (name.includes("order") || name.includes("interleave")) assert.deepEqual(ours, theirs);
  });
}

test("text: encoding equals the platform's, surrogates too", () => {
  for (const sample of ["", "plain", "grüße", "日本語", "😀 and \u{10ffff}", "lone \ud800 high", "lone \udc00 low", "\0"]) {
    assert.deepEqual([...new text.TextEncoder().encode(sample)], [...new TextEncoder().encode(sample)], sample);
  }
});

test("text: decoding equals the platform's on ten thousand random byte strings", () => {
  let seed = 20261122;
  const next = () => (seed = (seed * 48271) % 2147483647);
  const starts = [0x41, 0xc3, 0xe2, 0xf0, 0x80, 0xff, 0xed, 0xf4, 0xc0, 0xef, 0xbb, 0xbf];
  for (let turn = 0; turn < 10000; turn += 1) {
    const bytes = Uint8Array.from({ length: next() % 9 }, () => (next() % 3 ? 0x80 | next() % 64 : starts[next() % starts.length]));
    assert.equal(new text.TextDecoder().decode(bytes), new TextDecoder().decode(bytes), `bytes ${[...bytes]}`);
  }
});

test("text: fatal decoding refuses what is not UTF-8", () => {
  assert.throws(() => new text.TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.of(0xff)), TypeError);
});

test("url: addresses a handler meets read as the platform reads them", () => {
  const samples = [
    ["https://Example.com/a/b?x=1&y=2#top"], ["http://example.com:80/"], ["http://example.com:8080"],
    ["/api/x?q=a%20b", "http://ext"], ["b?z=1", "https://h/a/c"], ["?only=query", "https://h/a/c?old=1"],
    ["../up", "https://h/a/b/c"], ["https://user:pw@h.example/p"], ["https://[::1]:8443/x"],
  ];
  for (const [address, base] of samples) {
    const ours = new url.URL(address, base);
    const theirs = new URL(address, base);
    for (const part of ["protocol", "hostname", "port", "pathname", "hash", "host", "origin"]) {
      assert.equal(ours[part], theirs[part], `${part} of ${address}`);
    }
    assert.deepEqual([...ours.searchParams], [...theirs.searchParams], address);
  }
});

test("url: what is not an http address is refused", () => {
  for (const address of ["", "nonsense", "ftp://h/x", "javascript:alert(1)"]) {
    assert.throws(() => new url.URL(address), TypeError, address);
  }
});

test("url: query parameters keep repeats, blanks and broken escapes", () => {
  for (const query of ["a=1&a=2&b", "x=%zz&y=+plus%2B", "?lead=1", "=v&k=", "a=b=c"]) {
    const [ours, theirs] = [new url.URLSearchParams(query), new URLSearchParams(query)];
    assert.deepEqual([...ours], [...theirs], query);
    assert.deepEqual(ours.getAll("a"), theirs.getAll("a"));
  }
  assert.equal(new url.URLSearchParams({ a: "x y", b: "&" }).toString(), new URLSearchParams({ a: "x y", b: "&" }).toString());
});
