import type { Component } from './component.ts';
import { components } from './components.ts';

/**
 * Loads the code of every kind of component once, so that the compile cache holds all of it before dozens of processes
 * start: without the cache each of them would strip the types for itself, which takes time and 12 MB apiece.
 */
export const component: Component = {
  kind: 'warm-up',
  start: async () => {
    const loaded = await Promise.all(Object.values(components).map((load) => load()));
    return { components: loaded.length };
  },
};
