import { AwsError } from './aws-error.ts';

/** An object is a list of elements; an array repeats the element it stands under; `undefined` is left out. */
export type XmlValue =
  | string
  | number
  | boolean
  | undefined
  | readonly XmlValue[]
  | { readonly [name: string]: XmlValue };

const escapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
const escapeText = (text: string): string => text.replaceAll(/[&<>"]/g, (letter) => escapes[letter] ?? letter);

/** One element with everything in it. */
export const xmlText = (name: string, value: XmlValue, namespace?: string): string => {
  if (value === undefined) return '';
  if (Array.isArray(value)) return value.map((one: XmlValue) => xmlText(name, one)).join('');
  const open = namespace === undefined ? `<${name}>` : `<${name} xmlns="${namespace}">`;
  if (typeof value === 'object') {
    const inner = Object.entries(value)
      .map(([child, one]) => xmlText(child, one))
      .join('');
    return `${open}${inner}</${name}>`;
  }
  return `${open}${escapeText(String(value))}</${name}>`;
};

export interface XmlElement {
  readonly name: string;
  readonly children: readonly XmlElement[];
  readonly text: string;
}

const entities: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
const unescapeText = (text: string): string =>
  text.replaceAll(/&(#x[0-9a-fA-F]+|#\d+|\w+);/g, (whole, name: string) => {
    if (!name.startsWith('#')) return entities[name] ?? whole;
    const code = name.startsWith('#x') ? Number.parseInt(name.slice(2), 16) : Number(name.slice(1));
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });

const malformed = (): AwsError => new AwsError(400, 'MalformedInput', 'The XML you provided is not well-formed.');

interface OpenElement {
  readonly name: string;
  readonly children: XmlElement[];
  text: string;
}

/** Reads a request body: elements and text. Attributes, comments and the prolog are skipped, no entity is declared. */
export const parseXml = (source: string): XmlElement => {
  const root: OpenElement = { name: '', children: [], text: '' };
  const open: OpenElement[] = [root];
  const token = /<!--[\s\S]*?-->|<\?[\s\S]*?\?>|<(\/?)([\w.:-]+)((?:\s[^<>]*?)?)(\/?)>|([^<]+)/gy;
  let at = 0;
  for (let found = token.exec(source); found !== null; found = token.exec(source)) {
    at = token.lastIndex;
    const [, closing, name, , selfClosing, text] = found;
    const top = open.at(-1) ?? root;
    if (text !== undefined) top.text += unescapeText(text);
    else if (name !== undefined && closing === '/') {
      if (top === root || top.name !== name) throw malformed();
      open.pop();
    } else if (name !== undefined) {
      const element: OpenElement = { name, children: [], text: '' };
      top.children.push(element);
      if (selfClosing !== '/') open.push(element);
      if (open.length > 50) throw malformed();
    }
  }
  const [document] = root.children;
  if (at !== source.length || open.length !== 1 || root.children.length !== 1 || document === undefined) {
    throw malformed();
  }
  return document;
};

export const childOf = (element: XmlElement, name: string): XmlElement | undefined =>
  element.children.find((child) => child.name === name);

export const textOf = (element: XmlElement, name: string): string | undefined => childOf(element, name)?.text.trim();
