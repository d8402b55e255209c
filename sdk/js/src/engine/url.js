/** URL and URLSearchParams for http(s) addresses and the paths a handler is called with. No IDNA, no other schemes. */

const PARTS = /^(https?:)\/\/(?:[^/?#@]*@)?(\[[^\]]+\]|[^/?#:]+)(?::([0-9]+))?([^?#]*)(\?[^#]*)?(#.*)?$/i;
const DEFAULT_PORTS = { "http:": "80", "https:": "443" };

export class URLSearchParams {
  #pairs = [];

  constructor(init = "") {
    if (typeof init === "string") this.#pairs = parsed(init.replace(/^\?/, ""));
    else if (typeof init[Symbol.iterator] === "function") this.#pairs = [...init].map(([name, value]) => [`${name}`, `${value}`]);
    else this.#pairs = Object.entries(init).map(([name, value]) => [name, `${value}`]);
  }

  append(name, value) {
    this.#pairs.push([`${name}`, `${value}`]);
  }

  delete(name) {
    this.#pairs = this.#pairs.filter(([known]) => known !== name);
  }

  get(name) {
    return this.#pairs.find(([known]) => known === name)?.[1] ?? null;
  }

  getAll(name) {
    return this.#pairs.filter(([known]) => known === name).map(([, value]) => value);
  }

  has(name) {
    return this.#pairs.some(([known]) => known === name);
  }

  set(name, value) {
    this.delete(name);
    this.append(name, value);
  }

  entries() {
    return this.#pairs.map((pair) => [...pair])[Symbol.iterator]();
  }

  keys() {
    return this.#pairs.map(([name]) => name)[Symbol.iterator]();
  }

  values() {
    return this.#pairs.map(([, value]) => value)[Symbol.iterator]();
  }

  forEach(visit) {
    for (const [name, value] of this.#pairs) visit(value, name, this);
  }

  [Symbol.iterator]() {
    return this.entries();
  }

  toString() {
    return this.#pairs.map((pair) => pair.map(encoded).join("=")).join("&");
  }
}

export class URL {
  constructor(address, base) {
    const match = PARTS.exec(resolved(`${address}`, base === undefined ? undefined : `${base}`));
    if (!match) throw new TypeError(`not an http address: ${address}`);
    const [, protocol, hostname, port = "", pathname, search = "", hash = ""] = match;
    this.protocol = protocol.toLowerCase();
    this.hostname = hostname.toLowerCase();
    this.port = port === DEFAULT_PORTS[this.protocol] ? "" : port;
    this.pathname = withoutDots(pathname || "/");
    this.searchParams = new URLSearchParams(search);
    this.hash = hash === "#" ? "" : hash;
  }

  get host() {
    return this.port ? `${this.hostname}:${this.port}` : this.hostname;
  }

  get origin() {
    return `${this.protocol}//${this.host}`;
  }

  get search() {
    const query = this.searchParams.toString();
    return query ? `?${query}` : "";
  }

  get href() {
    return `${this.origin}${this.pathname}${this.search}${this.hash}`;
  }

  toString() {
    return this.href;
  }

  toJSON() {
    return this.href;
  }
}

function resolved(address, base) {
  if (/^https?:\/\//i.test(address) || base === undefined) return address;
  const from = new URL(base);
  if (address.startsWith("//")) return `${from.protocol}${address}`;
  if (address.startsWith("/")) return `${from.origin}${address}`;
  if (address.startsWith("?")) return `${from.origin}${from.pathname}${address}`;
  return `${from.origin}${from.pathname.replace(/[^/]*$/, "")}${address}`;
}

function withoutDots(path) {
  const kept = [];
  const segments = path.split("/").slice(1);
  for (const segment of segments) {
    if (segment === "..") kept.pop();
    else if (segment !== ".") kept.push(segment);
  }
  const folder = segments.at(-1) === "." || segments.at(-1) === "..";
  return `/${kept.join("/")}${folder && kept.length ? "/" : ""}`;
}

function parsed(query) {
  const pairs = query.split("&").filter((pair) => pair !== "");
  return pairs.map((pair) => {
    const [name, ...value] = pair.split("=");
    return [decoded(name), decoded(value.join("="))];
  });
}

function decoded(text) {
  const spaced = text.replaceAll("+", " ");
  try {
    return decodeURIComponent(spaced);
  } catch {
    return spaced;
  }
}

function encoded(text) {
  const safe = encodeURIComponent(text).replaceAll("%20", "+");
  return safe.replace(/[!'()~]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
}
