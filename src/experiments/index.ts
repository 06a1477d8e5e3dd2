import type { Fault } from './fault.ts';

/** Every fault blackstart can inject. Adding one is a folder under `faults/` and a line here. */
export const faults: readonly Fault[] = [];
