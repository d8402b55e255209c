/** Which function answers which method and path. `:name` matches one segment and arrives in `params`. */

import { jsonResponse } from "./responses.js";

export function createRouter() {
  const routes = [];
  const router = async (request, host) => {
    const [path, query = ""] = request.http.url.split("?", 2);
    const segments = segmentsOf(path);
    for (const route of routes) {
      const params = route.method === request.http.method ? match(route.segments, segments) : undefined;
      if (params) return route.answer(request, host, { params, query: new URLSearchParams(query) });
    }
    return jsonResponse({ error: "no such route" }, { status: 404 });
  };
  for (const method of ["GET", "POST", "PUT", "PATCH", "DELETE"]) {
    router[method.toLowerCase()] = (path, answer) => {
      routes.push({ method, segments: segmentsOf(path), answer });
      return router;
    };
  }
  return router;
}

function segmentsOf(path) {
  return path.split("/").filter((segment) => segment !== "");
}

function match(pattern, segments) {
  if (pattern.length !== segments.length) return undefined;
  const params = {};
  for (const [index, expected] of pattern.entries()) {
    if (expected.startsWith(":")) params[expected.slice(1)] = decodeURIComponent(segments[index]);
    else if (expected !== segments[index]) return undefined;
  }
  return params;
}
