import type * as nodeHttp from 'node:http';

/**
 * `node:http` for the lab's processes. An `import` of it reads every export, and that of `WebSocket` loads the whole of
 * Node's built-in undici: 6 MB and 30 ms in each of dozens of processes that never use it. Asked for this way, nothing
 * is read but what is used.
 */
export const http: typeof nodeHttp = process.getBuiltinModule('node:http');
