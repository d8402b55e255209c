/**
 * The host's interfaces as `HostBindings`: camelCase, promises, numbers for u64.
 *
 * The imports themselves are synchronous; what they refuse is thrown as the engine throws it, with the enum case (or
 * the failure record) in `payload`.
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
import * as userV2 from "alga:extension/user-v2";

import { bytesOf } from "./responses.js";
import { normalizeUserData } from "./users.js";

/** `u64` is how this engine takes 64-bit integers: Number or BigInt. */
export function createHostBindings(u64) {
  const entryIn = (entry) => ({ ...entry, value: bytesOf(entry.value), revision: optional(entry.revision, u64) });
  const itemIn = (item) => ({
    encoding: "text",
    createOnly: false,
    ...item,
    ifRevision: optional(item.ifRevision, u64),
  });
  const queryIn = (query = {}) => ({ includeValues: true, ...query });
  const labelsIn = (labels = {}) => Object.entries(labels).map(([name, value]) => [name, String(value)]);
  const route = async (path, payload) => uiProxy.callRoute(path, bytesOf(payload));
  return {
    context: { get: async () => context.getContext() },
    secrets: { get: async (key) => secrets.get(key), list: async () => secrets.listKeys() },
    http: { fetch: async (request) => http.fetch(requestIn(request)) },
    storage: {
      get: async (namespace, key) => numbered(storage.get(namespace, key)),
      put: async (entry) => numbered(storage.put(entryIn(entry))),
      delete: async (namespace, key) => storage.delete(namespace, key),
      list: async (namespace, cursor) => storage.listEntries(namespace, cursor ?? undefined).map(numbered),
    },
    logging: {
      info: async (message) => logging.logInfo(String(message)),
      warn: async (message) => logging.logWarn(String(message)),
      error: async (message) => logging.logError(String(message)),
    },
    uiProxy: { callRoute: route, call: route },
    user: { getUser: async () => normalizeUserData(userV2.getUser()) },
    scheduler: {
      list: async () => scheduler.listSchedules(),
      get: async (id) => scheduler.getSchedule(id),
      create: async (input) => scheduler.createSchedule(input),
      update: async (id, input) => scheduler.updateSchedule(id, input),
      delete: async (id) => scheduler.deleteSchedule(id),
      getEndpoints: async () => scheduler.getEndpoints(),
    },
    invoicing: { createManualInvoice: async (input) => invoicing.createManualInvoice(input) },
    clients: { list: async (input = {}) => clients.listClients(input), get: async (id) => clients.getClient(id) },
    services: { list: async (input = {}) => services.listServices(input), get: async (id) => services.getService(id) },
    contextV2: {
      get: async () => contextV2.getContext(),
      getConfig: async (key) => contextV2.getConfig(key),
      remainingMs: async () => Number(contextV2.remainingMs()),
      now: async () => Number(contextV2.nowUnixMs()),
      randomHex: async (bytes) => contextV2.randomHex(bytes),
    },
    storageV2: {
      get: async (namespace, key) => numbered(storageV2.get(namespace, key)),
      getMany: async (namespace, keys) => storageV2.getMany(namespace, keys).map(numbered),
      put: async (namespace, item) => numbered(storageV2.put(namespace, itemIn(item))),
      putMany: async (namespace, items) => storageV2.putMany(namespace, items.map(itemIn)).map(numbered),
      delete: async (namespace, key, ifRevision) => storageV2.delete(namespace, key, optional(ifRevision, u64)),
      deleteMany: async (namespace, keys) => storageV2.deleteMany(namespace, keys),
      list: async (namespace, query) => {
        const page = storageV2.listEntries(namespace, queryIn(query));
        return { ...page, items: page.items.map(numbered) };
      },
      usage: async () => numbered(storageV2.getUsage()),
    },
    metrics: {
      addCounter: async (name, value = 1, labels) => metrics.addCounter(name, value, labelsIn(labels)),
      setGauge: async (name, value, labels) => metrics.setGauge(name, value, labelsIn(labels)),
      recordHistogram: async (name, value, labels) => metrics.recordHistogram(name, value, labelsIn(labels)),
    },
    events: { emit: async (event) => events.emit({ ...event, payload: payloadText(event.payload) }) },
  };
}

function requestIn(request) {
  const headers = request.headers ?? [];
  const list = Array.isArray(headers) ? headers : Object.entries(headers).map(([name, value]) => ({ name, value }));
  return { method: request.method ?? "GET", url: request.url, headers: list, body: bytesOf(request.body) };
}

function payloadText(payload) {
  return typeof payload === "string" ? payload : JSON.stringify(payload ?? null);
}

function optional(value, convert) {
  return value === undefined || value === null ? undefined : convert(value);
}

/** The record with its 64-bit integers as numbers: revisions and byte counts stay far below 2^53. */
function numbered(record) {
  if (record === undefined || record === null) return undefined;
  const fields = Object.entries(record).map(([name, value]) => [name, typeof value === "bigint" ? Number(value) : value]);
  return Object.fromEntries(fields);
}
