/**
 * The few ASN.1 DER shapes an X.509 certificate is made of (ITU-T X.690 §8 and §10). Each function returns one encoded
 * value with its tag and length.
 */
const encode = (tag: number, content: Buffer): Buffer => {
  const { length } = content;
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), content]);
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return Buffer.concat([Buffer.from([tag, 0x80 | bytes.length, ...bytes]), content]);
};

export const sequence = (...items: readonly Buffer[]): Buffer => encode(0x30, Buffer.concat(items));
export const set = (...items: readonly Buffer[]): Buffer => encode(0x31, Buffer.concat(items));
export const octetString = (content: Buffer): Buffer => encode(0x04, content);
export const utf8String = (text: string): Buffer => encode(0x0c, Buffer.from(text, 'utf8'));
export const boolean = (value: boolean): Buffer => encode(0x01, Buffer.from([value ? 0xff : 0]));
/** Explicit, constructed context tag `[number]` around an encoded value. */
export const explicit = (number: number, value: Buffer): Buffer => encode(0xa0 | number, value);
/** Implicit, primitive context tag `[number]` in place of the value's own. */
export const implicit = (number: number, content: Buffer): Buffer => encode(0x80 | number, content);
/** `unusedBits` low bits of the last byte do not count. */
export const bitString = (content: Buffer, unusedBits = 0): Buffer =>
  encode(0x03, Buffer.concat([Buffer.from([unusedBits]), content]));

/** A non-negative integer from its big-endian bytes. */
export const integer = (bytes: Buffer): Buffer => {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start += 1;
  const body = bytes.subarray(start);
  const isNegative = ((body[0] ?? 0) & 0x80) !== 0;
  return encode(0x02, isNegative ? Buffer.concat([Buffer.from([0]), body]) : body);
};

/** An object identifier from its dotted text. */
export const objectIdentifier = (dotted: string): Buffer => {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = [first * 40 + second].concat(
    rest.flatMap((number) => {
      const groups = [number & 0x7f];
      for (let left = Math.floor(number / 128); left > 0; left = Math.floor(left / 128)) {
        groups.unshift((left & 0x7f) | 0x80);
      }
      return groups;
    }),
  );
  return encode(0x06, Buffer.from(bytes));
};

/** UTCTime, whole seconds; right for years up to 2049. */
export const utcTime = (date: Date): Buffer => {
  const text = date.toISOString().replaceAll(/[-:T]/g, '').slice(2, 14);
  return encode(0x17, Buffer.from(`${text}Z`, 'latin1'));
};
