import type { Addresses } from '../core/addresses.ts';
import { addressesOf } from './state.ts';
import { requireRunning } from './status.ts';

export { labEnv } from './client-environment.ts';
export { type DownResult, labDown } from './down.ts';
export { type LabAddressBook, type LabProcessStatus, type LabStatus, labLogs, labStatus } from './status.ts';
export { type LabProgress, type LabUpOptions, type LabUpResult, labUp } from './up.ts';

/** Where the product reaches a lab that is up. Throws UNREACHABLE otherwise. */
export const labAddresses = (name: string): Addresses => addressesOf(requireRunning(name).layout);
