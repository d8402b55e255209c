/** JSON over the host application's own routes. */

export async function callProxyJson(uiProxy, route, payload) {
  const bytes = payload === undefined ? undefined : new TextEncoder().encode(JSON.stringify(payload));
  const answer = await uiProxy.callRoute(route, bytes);
  return answer && answer.length ? JSON.parse(new TextDecoder().decode(answer)) : null;
}
