/** The guest SDK's public names. Nothing here touches the host: bindings arrive as the handler's second argument. */

export { createMockHostBindings } from "./mock.js";
export { callProxyJson } from "./proxy.js";
export { emptyResponse, jsonResponse, readJson, textResponse } from "./responses.js";
export { createRouter } from "./router.js";
export { normalizeUserData } from "./users.js";
