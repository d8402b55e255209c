/** UTF-8, as far as handlers need it: TextEncoder and TextDecoder for one encoding, replacement by default. */

export class TextEncoder {
  encoding = "utf-8";

  encode(text = "") {
    const bytes = new Uint8Array(text.length * 3);
    let length = 0;
    for (const character of String(text)) {
      const raw = character.codePointAt(0);
      const point = raw >= 0xd800 && raw <= 0xdfff ? 0xfffd : raw;
      if (point < 0x80) bytes[length++] = point;
      else if (point < 0x800) {
        bytes[length++] = 0xc0 | (point >> 6);
        bytes[length++] = 0x80 | (point & 63);
      } else if (point < 0x10000) {
        bytes[length++] = 0xe0 | (point >> 12);
        bytes[length++] = 0x80 | ((point >> 6) & 63);
        bytes[length++] = 0x80 | (point & 63);
      } else {
        bytes[length++] = 0xf0 | (point >> 18);
        bytes[length++] = 0x80 | ((point >> 12) & 63);
        bytes[length++] = 0x80 | ((point >> 6) & 63);
        bytes[length++] = 0x80 | (point & 63);
      }
    }
    return bytes.slice(0, length);
  }
}

/** After these first bytes the second has narrower bounds: no overlong forms, no surrogates, nothing past U+10FFFF. */
const SECOND_BYTE = { 0xe0: [0xa0, 0xbf], 0xed: [0x80, 0x9f], 0xf0: [0x90, 0xbf], 0xf4: [0x80, 0x8f] };
const CONTINUATION = [0x80, 0xbf];

export class TextDecoder {
  constructor(label = "utf-8", { fatal = false, ignoreBOM = false } = {}) {
    if (!["utf-8", "utf8"].includes(label.toLowerCase())) throw new RangeError(`no decoder for ${label}`);
    Object.assign(this, { encoding: "utf-8", fatal, ignoreBOM });
  }

  decode(input = new Uint8Array()) {
    const bytes = input instanceof Uint8Array ? input : new Uint8Array(input.buffer ?? input);
    const parts = [];
    for (let at = 0; at < bytes.length; ) {
      const { point, length } = sequence(bytes, at);
      if (point < 0 && this.fatal) throw new TypeError(`not UTF-8 at byte ${at}`);
      parts.push(String.fromCodePoint(point < 0 ? 0xfffd : point));
      at += length;
    }
    const text = parts.join("");
    return text.charCodeAt(0) === 0xfeff && !this.ignoreBOM ? text.slice(1) : text;
  }
}

function sequence(bytes, at) {
  const first = bytes[at];
  if (first < 0x80) return { point: first, length: 1 };
  if (first < 0xc2 || first > 0xf4) return { point: -1, length: 1 };
  const wanted = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  let point = first & (0xff >> (wanted + 1));
  for (let offset = 1; offset < wanted; offset += 1) {
    const next = bytes[at + offset];
    const [least, most] = offset === 1 ? (SECOND_BYTE[first] ?? CONTINUATION) : CONTINUATION;
    if (next === undefined || next < least || next > most) return { point: -1, length: offset };
    point = (point << 6) | (next & 63);
  }
  return { point, length: wanted };
}
