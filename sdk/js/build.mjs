#!/usr/bin/env node
/**
 * JavaScript or TypeScript sources -> one component: bundle (esbuild), then componentize.
 *
 *   node build.mjs --project <dir> --out <file> --wit <dir> [--engine qjs|spidermonkey] [--entry <file>]
 *                  [--bare] [--raw] [--world runner]
 *   node build.mjs --prepare          installs the build tools named in package-lock.json beside this file, once
 *
 * --bare leaves out WASI (clock and randomness then come from the host), --raw takes the entry's own `handler` export
 * and its raw `alga:extension/…` imports as they are. Prints one line of JSON on success: {out, bytes, engine}. Exit
 * codes: 0, 2 for the author's mistake, 1 for anything else.
 */

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const HERE = dirname(fileURLToPath(import.meta.url));
const ENTRIES = ["component", "handler", "index", "main"].flatMap((stem) => ["ts", "js", "mjs"].map((end) => `${stem}.${end}`));
const SDK_NAMES = ["@alga/extension-runtime", "@alga-psa/extension-runtime"];
const STAMP = ".installed-lock";

class AuthorMistake extends Error {}

async function main() {
  const options = readOptions();
  prepareTools();
  if (options.prepare) return;
  const scratch = mkdtempSync(join(tmpdir(), "alga-build-"));
  try {
    const source = join(scratch, "guest.js");
    await bundle(options, source);
    const bytes = await componentized(options, source);
    writeFileSync(options.out, bytes);
    process.stdout.write(`${JSON.stringify({ out: options.out, bytes: bytes.length, engine: options.engine })}\n`);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function readOptions() {
  const text = { type: "string" };
  const flag = { type: "boolean", default: false };
  const { values } = parseArgs({
    options: {
      project: text, entry: text, out: text, wit: text, world: { ...text, default: "runner" },
      engine: { ...text, default: "qjs" }, bare: flag, raw: flag, prepare: flag,
    },
  });
  if (values.prepare) return values;
  if (!["qjs", "spidermonkey"].includes(values.engine)) throw new AuthorMistake(`no engine ${values.engine}: qjs or spidermonkey`);
  for (const name of ["out", "wit"]) if (!values[name]) throw new AuthorMistake(`--${name} is missing`);
  const entry = resolve(values.entry ?? findEntry(resolve(values.project ?? ".")));
  if (!existsSync(entry)) throw new AuthorMistake(`no entry module at ${entry}`);
  return { ...values, entry, out: resolve(values.out), wit: resolve(values.wit) };
}

/** package.json's {"alga": {"entry": …}}, else the first of src/{component,handler,index,main}.{ts,js,mjs}. */
function findEntry(project) {
  const manifest = join(project, "package.json");
  const named = existsSync(manifest) ? JSON.parse(readFileSync(manifest, "utf8")).alga?.entry : undefined;
  if (named) return join(project, named);
  const found = ENTRIES.map((name) => join(project, "src", name)).find(existsSync);
  if (!found) throw new AuthorMistake(`no src/handler.js (or .ts) in ${project}, and no "alga": {"entry"} in its package.json`);
  return found;
}

/** Installs into a folder aside and moves it in place, so that a half-done install is never used. */
function prepareTools() {
  const lock = readFileSync(join(HERE, "package-lock.json"));
  const wanted = createHash("sha256").update(lock).digest("hex");
  const target = join(HERE, "node_modules");
  if (existsSync(join(target, STAMP)) && readFileSync(join(target, STAMP), "utf8") === wanted) return;
  mkdirSync(join(HERE, ".cache"), { recursive: true });
  const aside = mkdtempSync(join(HERE, ".cache", "install-"));
  try {
    for (const name of [".npmrc", "package.json", "package-lock.json"]) copyFileSync(join(HERE, name), join(aside, name));
    const [command, ...first] = npm();
    // Not `npm ci`: it insists on lock entries for platforms whose binaries a registry may not carry.
    const done = spawnSync(command, [...first, "install", "--ignore-scripts"], { cwd: aside, encoding: "utf8" });
    if (done.status !== 0) throw new Error(`npm install failed\n${done.stdout}${done.stderr}`);
    writeFileSync(join(aside, "node_modules", STAMP), wanted);
    rmSync(target, { recursive: true, force: true });
    renameSync(join(aside, "node_modules"), target);
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

/** The npm that came with this very node, else the one on the path. */
function npm() {
  const home = resolve(dirname(process.execPath), "..");
  const script = join(home, "lib", "node_modules", "npm", "bin", "npm-cli.js");
  return existsSync(script) ? [process.execPath, script] : ["npm"];
}

async function bundle(options, outfile) {
  const esbuild = await import("esbuild");
  const quickjs = options.engine === "qjs";
  const input = options.raw
    ? { entryPoints: [options.entry] }
    : { stdin: { contents: wrapper(options), resolveDir: HERE, sourcefile: "component-entry.js" } };
  try {
    await esbuild.build({
      ...input,
      absWorkingDir: resolve(options.project ?? dirname(options.entry)),
      outfile,
      bundle: true,
      format: "esm",
      platform: "neutral",
      mainFields: ["module", "main"],
      conditions: ["import", "default"],
      external: ["alga:extension/*", "wasi:*"],
      alias: Object.fromEntries(SDK_NAMES.map((name) => [name, join(HERE, "src", "index.js")])),
      target: "es2022",
      // QuickJS runs no promises of its own: async functions become generators over src/engine/promise.js.
      supported: quickjs && !options.raw ? { "async-await": false, "async-generator": false, "for-await": false } : {},
      legalComments: "none",
      logLevel: "silent",
    });
  } catch (error) {
    throw new AuthorMistake(error.message);
  }
}

function wrapper({ entry, engine, bare }) {
  const sdk = (path) => JSON.stringify(join(HERE, "src", path));
  const engineFile = engine === "qjs" ? "engine/quickjs.js" : "engine/spidermonkey.js";
  return [
    `import { exported, u64 } from ${sdk(engineFile)};`,
    ...(bare ? [`import ${sdk("engine/bare.js")};`] : []),
    `import { createHostBindings } from ${sdk("bindings.js")};`,
    `import { bindHandler } from ${sdk("component.js")};`,
    `import * as author from ${JSON.stringify(entry)};`,
    `export const handler = exported(bindHandler(author.handler ?? author.default, createHostBindings(u64)));`,
  ].join("\n");
}

/** The module runs once here, at build time: what it throws then is its author's to mend. */
async function componentized(options, source) {
  const make = options.engine === "qjs" ? byQuickJs : bySpiderMonkey;
  try {
    return (await make(options, source)).component;
  } catch (error) {
    throw new AuthorMistake(`the module does not make a component: ${error.message}`);
  }
}

async function byQuickJs({ wit, world, bare }, source) {
  const { default: engine } = await import("componentize-qjs");
  const jsSource = readFileSync(source, "utf8");
  return engine.componentize({ witPath: wit, world, jsSource, stubWasi: bare, sync: true });
}

async function bySpiderMonkey({ wit, world, bare }, source) {
  const { componentize } = await import("@bytecodealliance/componentize-js");
  const disableFeatures = bare ? ["stdio", "random", "clocks", "http", "fetch-event"] : [];
  return componentize({ sourcePath: source, witPath: wit, worldName: world, disableFeatures });
}

try {
  await main();
} catch (error) {
  process.stderr.write(`${error instanceof AuthorMistake ? error.message : (error.stack ?? error)}\n`);
  process.exitCode = error instanceof AuthorMistake ? 2 : 1;
}
