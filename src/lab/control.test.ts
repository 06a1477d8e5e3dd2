import { statSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ControlError, callControl, serveControl } from './control.ts';
import type { LabLayout } from './layout.ts';
import { labEnvironment, testLayout } from './testing.ts';

describe('control API', () => {
  const controller = new AbortController();
  let layout: LabLayout;
  let remove = (): void => undefined;

  beforeAll(async () => {
    ({ layout, remove } = await testLayout(labEnvironment()));
    const routes = [
      { route: 'GET /things/:name', answer: ({ params, query }) => ({ ...params, at: query.get('at') }) },
      { route: 'POST /things', answer: ({ body }) => ({ got: body }) },
      {
        route: 'DELETE /things/:name',
        answer: () => {
          throw new ControlError(409, 'InUse', 'somebody uses it');
        },
      },
    ] satisfies Parameters<typeof serveControl>[2];
    await serveControl(layout, 'dns', routes, controller.signal);
  });
  afterAll(() => {
    controller.abort();
    remove();
  });

  it('passes path, query and body on and answers JSON', async () => {
    expect(await callControl(layout, 'dns', 'GET', '/things/a%20b?at=1')).toEqual({ name: 'a b', at: '1' });
    expect(await callControl(layout, 'dns', 'POST', '/things', { body: { x: [1] } })).toEqual({ got: { x: [1] } });
  });

  it('refuses with status, code and message', async () => {
    await expect(callControl(layout, 'dns', 'DELETE', '/things/a')).rejects.toMatchObject({
      status: 409,
      code: 'InUse',
      message: 'somebody uses it',
    });
    await expect(callControl(layout, 'dns', 'GET', '/nothing')).rejects.toMatchObject({ status: 404 });
    await expect(callControl({ ...layout, token: 'other' }, 'dns', 'GET', '/things/a')).rejects.toMatchObject({
      status: 401,
    });
  });

  it('counts a call from outside as use of the lab, one from inside not', async () => {
    const used = (): boolean => statSync(path.join(layout.stateDir, 'used'), { throwIfNoEntry: false }) !== undefined;
    await callControl(layout, 'dns', 'GET', '/things/a');
    expect(used()).toBe(false);
    const response = await fetch(`http://127.0.0.1:${layout.control.dns}/things/a`, {
      headers: { authorization: `Bearer ${layout.token}` },
    });
    expect(response.status).toBe(200);
    expect(used()).toBe(true);
  });

  it('stops listening when its signal aborts', async () => {
    controller.abort();
    await expect(callControl(layout, 'dns', 'GET', '/things/a')).rejects.toThrow(/ECONNREFUSED/);
  });
});
