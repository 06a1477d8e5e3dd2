import { steps } from '../drills/index.ts';
import { findStep, runDrill } from '../drills/run.ts';
import { drillSteps } from '../drills/schema.ts';
import type { Cli, Format } from './command.ts';
import { type Document, type Platform, scenarioOf } from './documents.ts';
import { type Executed, execute, experimentPhases } from './execute.ts';
import type { PlannedPhase } from './live.ts';
import type { Reached } from './session.ts';

export interface Drilling {
  readonly platform: Platform;
  readonly document: Document;
  readonly reached: Reached;
  readonly seed: number;
  readonly after?: readonly Executed[];
  readonly approve: 'ask' | 'auto';
  readonly format: Format;
}

const before = ['plan', 'warm-up', 'baseline'];
const after = ['confirm', 'settle', 'rollback', 'report'];

/** Runs a drill file; `demo` does it too. */
export const executeDrill = async (cli: Cli, drilling: Drilling): Promise<Executed> => {
  const { document, platform } = drilling;
  if (document.kind !== 'Drill') throw new Error(`${document.file} is not a drill`);
  const { drill, source } = document;
  const planned = drillSteps(drill);
  const phases: readonly PlannedPhase[] = [
    ...experimentPhases.filter(({ phase }) => before.includes(phase)),
    ...planned.map(({ step, title, with: params }) => ({
      phase: step,
      title: title ?? findStep(steps, step).describe(params),
    })),
    ...experimentPhases.filter(({ phase }) => after.includes(phase)),
  ];
  return await execute(cli, {
    ...drilling,
    scenario: scenarioOf(drill, 'drill', source, platform),
    phases,
    engine: (request) => runDrill(request, steps, planned),
  });
};
