/**
 * Clock and randomness from the host, for guests without WASI: the engine's own would trap.
 * Imported first, for what it sets.
 */

import { nowUnixMs, randomHex } from "alga:extension/context-v2";

const now = () => Number(nowUnixMs());
const EngineDate = globalThis.Date;

class HostDate extends EngineDate {
  constructor(...parts) {
    super(...(parts.length ? parts : [now()]));
  }

  static now() {
    return now();
  }
}

globalThis.Date = HostDate;
globalThis.performance = { now };
Math.random = () => parseInt(randomHex(6), 16) / 2 ** 48;
