import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ApiError } from './api-error.ts';
import { parseFieldSelector, parseLabelSelector } from './selectors.ts';

const object = (labels: Record<string, string>, more: object = {}) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'one', uid: '', resourceVersion: '1', creationTimestamp: '', labels },
  ...more,
});

describe('label selectors', () => {
  it.each([
    ['app=llm', { app: 'llm' }, true],
    ['app==llm', { app: 'llm' }, true],
    ['app=llm', { app: 'rag' }, false],
    ['app=llm', {}, false],
    ['app!=llm', {}, true],
    ['app!=llm', { app: 'llm' }, false],
    ['app in (llm, rag)', { app: 'rag' }, true],
    ['app in (llm,rag)', {}, false],
    ['app notin (llm)', {}, true],
    ['app notin (llm)', { app: 'llm' }, false],
    ['app', { app: '' }, true],
    ['app', {}, false],
    ['!app', {}, true],
    ['app in (a,b),tier=x,!old', { app: 'b', tier: 'x' }, true],
    ['app in (a,b),tier=x,!old', { app: 'b', tier: 'x', old: '1' }, false],
    ['app.kubernetes.io/managed-by=blackstart', { 'app.kubernetes.io/managed-by': 'blackstart' }, true],
    ['', {}, true],
  ])('%j on %j is %s', (selector, labels, expected) => {
    expect(parseLabelSelector(selector)(labels)).toBe(expected);
  });

  it('answers what it cannot parse with 400, never with a bug', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          parseLabelSelector(text)({});
        } catch (error) {
          expect(error).toBeInstanceOf(ApiError);
          expect(error).toMatchObject({ code: 400 });
        }
      }),
    );
    expect(() => parseLabelSelector('app=a b')).toThrow(ApiError);
    expect(() => parseLabelSelector('=x')).toThrow(ApiError);
  });
});

describe('field selectors', () => {
  const pod = object({}, { spec: { nodeName: 'n1' }, status: { phase: 'Running' } });
  it.each([
    ['metadata.name=one', true],
    ['spec.nodeName=n1,status.phase=Running', true],
    ['status.phase!=Running', false],
    ['spec.nodeName=', false],
    ['spec.nodeName!=', true],
  ])('%j is %s', (selector, expected) => {
    expect(parseFieldSelector(selector, ['spec.nodeName', 'status.phase'])(pod)).toBe(expected);
  });

  it('refuses fields that are not indexed', () => {
    expect(() => parseFieldSelector('spec.hostPID=true', [])).toThrow('field label not supported: spec.hostPID');
  });
});
