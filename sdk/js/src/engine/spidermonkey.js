/** SpiderMonkey runs promises itself and takes 64-bit integers as BigInt. */

export const u64 = BigInt;

export function exported(handler) {
  return handler;
}
