import { chat } from './chat.ts';
import { dns } from './dns.ts';
import { health } from './health.ts';
import { http } from './http.ts';
import { cacheLedger } from './ledger/cache.ts';
import { defineLedger } from './ledger/define.ts';
import { objectsLedger } from './ledger/objects.ts';
import { billingLedger, postgresLedger } from './ledger/postgres.ts';
import { vectorLedger } from './ledger/vector.ts';
import { objects } from './objects.ts';
import type { Probe } from './probe.ts';
import { tcp } from './tcp.ts';

/** Every way of looking from outside; schema, `list` and documentation derive from it. */
export const probes: readonly Probe[] = [
  chat,
  health,
  dns,
  defineLedger(postgresLedger),
  defineLedger(billingLedger),
  defineLedger(vectorLedger),
  objects,
  defineLedger(objectsLedger),
  defineLedger(cacheLedger),
  tcp,
  http,
];
