/** The part of CBOR (RFC 8949) that AWS's rpc-v2-cbor protocol uses. */

const head = (major: number, value: number): Buffer => {
  const type = major << 5;
  if (value < 24) return Buffer.from([type | value]);
  if (value < 0x100) return Buffer.from([type | 24, value]);
  if (value < 0x10000) return Buffer.from([type | 25, value >> 8, value & 0xff]);
  const wide = Buffer.alloc(value < 2 ** 32 ? 5 : 9);
  wide[0] = type | (value < 2 ** 32 ? 26 : 27);
  if (value < 2 ** 32) wide.writeUInt32BE(value, 1);
  else wide.writeBigUInt64BE(BigInt(value), 1);
  return wide;
};

const encodeNumber = (value: number): Buffer => {
  if (Number.isSafeInteger(value)) return value >= 0 ? head(0, value) : head(1, -1 - value);
  const double = Buffer.alloc(9);
  double[0] = 0xfb;
  double.writeDoubleBE(value, 1);
  return double;
};

/** Dates become epoch seconds (tag 1); members that are `undefined` are left out. */
export const encodeCbor = (value: unknown): Buffer => {
  if (typeof value === 'number') return encodeNumber(value);
  if (typeof value === 'boolean') return Buffer.from([value ? 0xf5 : 0xf4]);
  if (typeof value === 'string') {
    const text = Buffer.from(value, 'utf8');
    return Buffer.concat([head(3, text.length), text]);
  }
  if (value instanceof Date) return Buffer.concat([head(6, 1), encodeNumber(value.getTime() / 1000)]);
  if (Array.isArray(value)) return Buffer.concat([head(4, value.length), ...value.map(encodeCbor)]);
  if (typeof value !== 'object' || value === null) return Buffer.from([0xf6]);
  const entries = Object.entries(value).filter(([, one]) => one !== undefined);
  return Buffer.concat([
    head(5, entries.length),
    ...entries.flatMap(([key, one]) => [encodeCbor(key), encodeCbor(one)]),
  ]);
};

const depthMax = 32;
const stop = Symbol('break');

interface Cursor {
  readonly data: Buffer;
  at: number;
}

const readArgument = (cursor: Cursor, info: number): number => {
  const { data } = cursor;
  if (info < 24) return info;
  const bytes = { 24: 1, 25: 2, 26: 4, 27: 8 }[info];
  if (bytes === undefined) throw new Error('malformed CBOR');
  const at = cursor.at;
  cursor.at += bytes;
  return bytes === 8 ? Number(data.readBigUInt64BE(at)) : data.readUIntBE(at, bytes);
};

const halfOf = (bits: number): number => {
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (exponent === 0) return sign * 2 ** -24 * fraction;
  return sign * 2 ** (exponent - 15) * (1 + fraction / 1024);
};

const readSimple = (cursor: Cursor, info: number): unknown => {
  if (info === 20 || info === 21) return info === 21;
  if (info === 22) return null;
  if (info === 23) return undefined;
  if (info === 31) return stop;
  const at = cursor.at;
  if (info === 25) {
    cursor.at += 2;
    return halfOf(cursor.data.readUInt16BE(at));
  }
  if (info === 26) {
    cursor.at += 4;
    return cursor.data.readFloatBE(at);
  }
  if (info === 27) {
    cursor.at += 8;
    return cursor.data.readDoubleBE(at);
  }
  throw new Error('malformed CBOR');
};

/** Items of an array or map, of a length known before or ended by a break. */
const readItems = (cursor: Cursor, info: number, perEntry: number, depth: number): unknown[] => {
  const items: unknown[] = [];
  const count = info === 31 ? Number.POSITIVE_INFINITY : readArgument(cursor, info) * perEntry;
  while (items.length < count) {
    const item = read(cursor, depth + 1);
    if (item === stop) {
      if (info === 31) break;
      throw new Error('malformed CBOR');
    }
    items.push(item);
  }
  return items;
};

const readBytes = (cursor: Cursor, info: number, depth: number): Buffer => {
  if (info === 31) {
    const parts: Buffer[] = [];
    for (const part of readItems(cursor, 31, 1, depth)) parts.push(Buffer.from(part as string | Uint8Array as string));
    return Buffer.concat(parts);
  }
  const length = readArgument(cursor, info);
  const end = cursor.at + length;
  if (end > cursor.data.length) throw new Error('malformed CBOR');
  const bytes = cursor.data.subarray(cursor.at, end);
  cursor.at = end;
  return bytes;
};

const read = (cursor: Cursor, depth: number): unknown => {
  if (depth > depthMax) throw new Error('CBOR nested too deeply');
  const initial = cursor.data.readUInt8(cursor.at);
  cursor.at += 1;
  const major = initial >> 5;
  const info = initial & 0x1f;
  if (major === 0) return readArgument(cursor, info);
  if (major === 1) return -1 - readArgument(cursor, info);
  if (major === 2) return readBytes(cursor, info, depth);
  if (major === 3) return readBytes(cursor, info, depth).toString('utf8');
  if (major === 4) return readItems(cursor, info, 1, depth);
  if (major === 5) {
    const items = readItems(cursor, info, 2, depth);
    if (items.length % 2 !== 0) throw new Error('malformed CBOR');
    const keys = items.filter((_, index) => index % 2 === 0);
    return Object.fromEntries(keys.map((key, index) => [String(key), items[index * 2 + 1]]));
  }
  if (major === 7) return readSimple(cursor, info);
  const tag = readArgument(cursor, info);
  const value = readWhole(cursor, depth + 1);
  return tag === 1 && typeof value === 'number' ? new Date(value * 1000) : value;
};

/** An item where no break may stand. */
const readWhole = (cursor: Cursor, depth: number): unknown => {
  const value = read(cursor, depth);
  if (value === stop) throw new Error('malformed CBOR');
  return value;
};

/** Throws on anything malformed. */
export const decodeCbor = (data: Buffer): unknown => {
  const cursor = { data, at: 0 };
  const value = readWhole(cursor, 0);
  if (cursor.at !== data.length) throw new Error('malformed CBOR');
  return value;
};
