import { z } from 'zod';

/**
 * The published report, `report.json`. Unless a field says otherwise, durations are real milliseconds and instants are
 * real milliseconds since the start of the run (`run.startedAt`). `null` as an upper end means: not seen to end.
 */
export const reportSchemaVersion = 3;

const ms = z.number();
const openMs = ms.nullable();

const bracketSchema = z
  .strictObject({ estimateMs: ms, minMs: ms, maxMs: openMs })
  .meta({ description: 'A duration with its error: the truth lies between minMs and maxMs.' });
const spanSchema = z
  .strictObject({ minMs: openMs, maxMs: openMs })
  .meta({ description: 'An instant that lies between two others; null where nothing bounds it.' });

const verdictSchema = z.enum(['PASS', 'FAIL', 'INCONCLUSIVE', 'NOT MEASURED']);
const unitSchema = z.enum(['ms', 'share', 'count', 'text']);
const shareSchema = z
  .strictObject({ estimate: z.number(), min: z.number(), max: z.number() })
  .meta({ description: 'A share with its one-sided 95 % Clopper-Pearson bounds.' });

const documentedSchema = z.strictObject({
  promise: z.string(),
  text: z.string(),
  source: z.string(),
  maxMs: ms.optional().meta({ description: 'Documented time.' }),
  minShare: z.number().optional(),
  maxShare: z.number().optional(),
  maxCount: z.number().optional(),
  also: z.array(z.strictObject({ text: z.string(), maxMs: ms, source: z.string(), verdict: verdictSchema })),
});

const targetSchema = z.strictObject({
  id: z.string(),
  verdict: verdictSchema,
  reason: z.string(),
  documented: documentedSchema,
  observed: bracketSchema.nullable().meta({ description: 'Documented time: real time by the time scale.' }),
  real: bracketSchema.nullable().meta({ description: 'The same in real time.' }),
  share: shareSchema.nullable(),
  count: z.number().nullable(),
  location: z.string().nullable().meta({ description: 'The location that decided.' }),
  locations: z.array(
    z.strictObject({
      location: z.string(),
      verdict: verdictSchema.nullable(),
      observed: bracketSchema,
      real: bracketSchema,
    }),
  ),
  figures: z.array(z.strictObject({ name: z.string(), value: z.union([z.number(), z.string()]), unit: unitSchema })),
  notes: z.array(z.string()),
});

const kindSchema = z.enum(['crash', 'hang', 'freeze', 'error', 'slow', 'mixed']);
const lengths = { client: bracketSchema, interruption: bracketSchema };

const outageSchema = z.strictObject({
  stream: z.string(),
  location: z.string(),
  required: z.boolean(),
  startedAt: z.string().meta({ description: 'Send of the first probe that was not good, for people.' }),
  startMs: ms,
  kind: kindSchema,
  flaps: z.number(),
  confirmed: z.boolean().meta({ description: 'The recovery was sustained over the confirmation window.' }),
  ...lengths,
  firstRecovery: bracketSchema.meta({ description: 'First impact to the first good probe, whether it lasted or not.' }),
  downtimeMs: ms,
  notGood: z.number().meta({ description: 'Evidence probes in it that were not good.' }),
  episodes: z.array(z.strictObject({ kind: kindSchema, startMs: ms, ...lengths })),
});

const quantilesSchema = z.strictObject({ count: z.number(), p50Ms: ms, p95Ms: ms, p99Ms: ms, maxMs: ms });

const lookSchema = z
  .strictObject({ probes: z.number(), toleratedBad: z.number(), toleratedLate: z.number() })
  .meta({ description: 'A recovery is confirmed by so many probes with at most these bad and late ones among them.' });

const streamSchema = z.strictObject({
  stream: z.string(),
  probe: z.string(),
  location: z.string(),
  connection: z.enum(['fresh', 'kept']),
  required: z.boolean(),
  everyMs: ms,
  timeoutMs: ms,
  slowAfterMs: ms,
  probes: z.strictObject({
    sent: z.number(),
    good: z.number(),
    slow: z.number(),
    bad: z.number(),
    dropped: z.number(),
    unknown: z.number(),
  }),
  latency: quantilesSchema.nullable(),
  firstByte: quantilesSchema.nullable(),
  window: z.array(lookSchema),
  outages: z.number(),
  downtimeMs: ms,
  reachableDowntimeMs: ms.meta({ description: 'The same when slow answers count as up.' }),
  notGoodMs: ms.meta({ description: 'Brownout integral: full outage that the probes which are not good are worth.' }),
  blindMs: ms,
  hiddenMs: ms.meta({ description: 'The longest outage that may hide in time nobody could see.' }),
  floor: z.strictObject({ outageMs: ms, freezeMs: ms }).meta({ description: 'Shortest outage that is surely found.' }),
  blips: z.strictObject({ count: z.number(), longest: z.number() }),
  worstAvailability: z.array(z.strictObject({ windowMs: ms, share: z.number() })),
});

const baselineSchema = z.strictObject({
  holds: z.boolean(),
  reason: z.string(),
  streams: z.array(
    z.strictObject({
      stream: z.string(),
      probes: z.number(),
      bad: z.number(),
      late: z.number(),
      window: z.array(lookSchema),
    }),
  ),
});

const instantNames = [
  'faultEffective',
  'firstImpact',
  'detected',
  'decided',
  'newAuthority',
  'routeChanged',
  'firstGood',
  'stable',
  'redundant',
] as const;
const durationNames = ['outage', 'sinceFault', 'detect', 'failOver', 'propagate', 'settle', 'redundancy'] as const;

const shapeOf = <Name extends string, Schema extends z.ZodType>(names: readonly Name[], schema: Schema) =>
  z.strictObject(Object.fromEntries(names.map((name) => [name, schema])) as Record<Name, Schema>);

const decompositionSchema = z.strictObject({
  location: z.string(),
  stream: z.string(),
  instants: shapeOf(instantNames, spanSchema.nullable()),
  durations: shapeOf(durationNames, bracketSchema.nullable()),
});

const dataSchema = z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()]));

const eventSchema = z.strictObject({
  minMs: openMs,
  maxMs: openMs,
  name: z.string(),
  subject: z.string(),
  source: z.string(),
  data: dataSchema,
});

const phaseSchema = z.strictObject({
  at: z.union([z.string(), ms]).meta({ description: 'random, sweep, worst, or documented milliseconds.' }),
  offsetMs: ms.meta({ description: 'What was waited before the injection.' }),
  mechanism: z
    .strictObject({
      name: z.string(),
      region: z.string(),
      periodMs: ms,
      durationMs: ms,
      positionMs: ms.meta({ description: 'Since a pass of it began.' }),
      age: bracketSchema
        .nullable()
        .meta({ description: 'From when the state was taken that was shown to when the fault took effect.' }),
      passEnded: z.boolean().meta({ description: 'A pass ended while the fault was injected.' }),
    })
    .nullable(),
});

const instrumentSchema = z.strictObject({
  trusted: z.boolean().meta({ description: 'No self-check tripped.' }),
  checks: z.array(
    z.strictObject({
      name: z.string(),
      location: z.string().nullable(),
      value: z.number(),
      limit: openMs,
      unit: z.enum(['ms', 'share', 'count', 'cores']),
      tripped: z.boolean(),
      detail: z.string(),
    }),
  ),
});

const count = z.number();

const handoverSchema = z.strictObject({
  epoch: z.string().meta({ description: 'Who acknowledged: system identifier, timeline, server, start time.' }),
  acknowledged: count,
  lost: count,
  isPrefix: z.boolean().meta({ description: 'What was lost is the tail of what it had acknowledged, nothing else.' }),
  recoveryPoint: spanSchema.nullable().meta({ description: 'Up to here everything acknowledged is there.' }),
  end: spanSchema.meta({ description: 'When it stopped to acknowledge.' }),
  endKnownBy: z.string(),
  rpo: bracketSchema.meta({ description: 'Time of acknowledged data lost.' }),
  spanOfLostMs: ms.meta({ description: 'First lost to last lost: what a look at the rows alone would tell.' }),
});

const storeSchema = z.strictObject({
  ledger: z.string(),
  missing: z.array(z.string()).meta({ description: 'Why the end of a ledger is not known.' }),
  writes: z.strictObject({ acknowledged: count, failed: count, unknown: count }),
  lost: count,
  lostWeak: count,
  recovered: count,
  indeterminate: count,
  resurrected: count,
  phantom: count,
  duplicate: count,
  stale: count,
  neverRead: count,
  vanished: count,
  holes: count,
  power: z
    .strictObject({ smallestLossMs: openMs, atRisk: count })
    .nullable()
    .meta({ description: 'The smallest loss it would have seen for certain; writes of the second before the fault.' }),
  handovers: z.array(handoverSchema),
  copies: z.array(z.strictObject({ copy: z.string(), writes: count, longest: bracketSchema })),
  splitBrain: z.strictObject({ dualAcknowledged: count, divergent: count, overlap: bracketSchema.nullable() }),
});

const dataLossSchema = z.strictObject({
  stores: z.array(storeSchema),
  consistentCut: z
    .strictObject({
      ledgers: z.array(z.string()),
      rpo: bracketSchema,
      dangling: z.array(z.strictObject({ kept: z.string(), without: z.string(), count })),
    })
    .nullable()
    .meta({ description: 'Of all stores together: the joint RPO, and what one kept without its part in another.' }),
});

const undoSchema = z.strictObject({
  armed: z.number(),
  reverted: z.number(),
  outstanding: z.array(z.strictObject({ fault: z.string(), target: z.string(), reason: z.string() })),
});

export const reportSchema = z
  .strictObject({
    schemaVersion: z.literal(reportSchemaVersion),
    run: z.strictObject({
      id: z.string(),
      kind: z.enum(['experiment', 'drill', 'check', 'observe']),
      name: z.string(),
      title: z.string(),
      environment: z.string(),
      timeScale: z.number(),
      seed: z.number(),
      startedAt: z.string(),
      versions: z.record(z.string(), z.string()),
      ended: z.strictObject({ reason: z.enum(['finished', 'aborted', 'failed']), message: z.string().nullable() }),
    }),
    verdict: z.enum(['PASS', 'FAIL', 'INCONCLUSIVE', 'VOID']),
    reason: z.string(),
    certifies: z.string(),
    targets: z.array(targetSchema),
    phases: z.array(z.strictObject({ name: z.string(), startMs: ms, endMs: openMs })),
    faults: z.array(
      z.strictObject({
        fault: z.string(),
        target: z.string(),
        effective: spanSchema.nullable(),
        reverted: spanSchema.nullable(),
      }),
    ),
    phase: phaseSchema.nullable().meta({ description: 'When in the cycle of periodic mechanisms it was injected.' }),
    timeline: z.array(eventSchema),
    outages: z.array(outageSchema),
    decomposition: z.array(decompositionSchema),
    baseline: baselineSchema.nullable(),
    streams: z.array(streamSchema),
    dataLoss: dataLossSchema,
    instrument: instrumentSchema,
    contradictions: z.array(z.string()),
    undo: undoSchema,
  })
  .meta({
    title: 'blackstart report',
    description:
      'What a run observed, against what is documented. Durations are real milliseconds and instants real ' +
      'milliseconds since the start of the run, unless a field says otherwise.',
  });
export type Report = z.output<typeof reportSchema>;
