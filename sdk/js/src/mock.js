/** Host bindings for an author's own unit tests, in plain Node: storage in memory, everything else refused. */

export function createMockHostBindings(overrides = {}) {
  const defaults = {
    context: { get: async () => ({ tenantId: "tenant-test", extensionId: "extension-test" }) },
    secrets: { get: refuse("missing"), list: async () => [] },
    http: { fetch: refuse("not-allowed") },
    storage: memoryStorage(),
    logging: { info: async () => {}, warn: async () => {}, error: async () => {} },
    uiProxy: { callRoute: refuse("route-not-found"), call: refuse("route-not-found") },
    user: { getUser: refuse("not-available") },
    scheduler: mapped(["list", "get", "create", "update", "delete", "getEndpoints"], refuse("denied")),
    invoicing: { createManualInvoice: async () => ({ success: false, error: "Permission denied" }) },
    clients: { list: refuse("not-allowed"), get: refuse("not-allowed") },
    services: { list: refuse("not-allowed"), get: refuse("not-allowed") },
    contextV2: mapped(["get", "getConfig", "remainingMs", "now", "randomHex"], refuse("denied")),
    storageV2: mapped(["get", "getMany", "put", "putMany", "delete", "deleteMany", "list", "usage"], refuse("denied")),
    metrics: mapped(["addCounter", "setGauge", "recordHistogram"], async () => {}),
    events: { emit: refuse("denied") },
  };
  const merged = Object.entries(defaults).map(([name, part]) => [name, { ...part, ...overrides[name] }]);
  return Object.fromEntries(merged);
}

function refuse(payload) {
  return async () => {
    throw Object.assign(new Error(payload), { payload });
  };
}

function mapped(names, answer) {
  return Object.fromEntries(names.map((name) => [name, answer]));
}

function memoryStorage() {
  const records = new Map();
  const at = (namespace, key) => `${namespace}\u0000${key}`;
  return {
    get: async (namespace, key) => records.get(at(namespace, key)) ?? refuse("missing")(),
    put: async (entry) => {
      const before = records.get(at(entry.namespace, entry.key))?.revision ?? 0;
      const wanted = entry.revision;
      if (wanted !== undefined && wanted !== null && wanted !== before) return refuse("conflict")();
      const stored = { ...entry, revision: before + 1 };
      records.set(at(entry.namespace, entry.key), stored);
      return stored;
    },
    delete: async (namespace, key) => void records.delete(at(namespace, key)),
    list: async (namespace) =>
      [...records.values()]
        .filter((entry) => entry.namespace === namespace)
        .sort((a, b) => (a.key < b.key ? -1 : 1)),
  };
}
