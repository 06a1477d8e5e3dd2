import {
  type Cli,
  type Define,
  environmentOption,
  examples,
  type Format,
  formatOption,
  wholeNumber,
} from './command.ts';

interface Options {
  readonly env: string;
  readonly seed?: number;
  readonly format: Format;
}

const textOf = async (plan: import('../experiments/plan.ts').Plan): Promise<string> => {
  const { columnsText } = await import('../core/terminal.ts');
  const lines: string[] = [];
  for (const { use, fault, planned, permissions } of plan.faults) {
    lines.push(`${use.fault}  ${fault.summary}`);
    for (const { target, blast } of planned) {
      lines.push(`  breaks    ${target}`);
      for (const [workload, { ready, surviving }] of Object.entries(blast.workloads)) {
        lines.push(`  survives  ${surviving} of ${ready} ${workload} pods`);
      }
    }
    lines.push(`  expires   ${fault.expiry}`);
    lines.push('  needs');
    lines.push(columnsText(permissions.map((one) => [`    ${one.provider}`, one.action, one.resource])));
    lines.push('');
  }
  lines.push(`pods ${plan.pods} · zones ${plan.zones.length} · regions ${plan.regions.length} · plan ${plan.hash}`);
  for (const refusal of plan.refusals) lines.push(`refused: ${refusal}`);
  return lines.join('\n');
};

const jsonOf = (plan: import('../experiments/plan.ts').Plan): unknown => ({
  hash: plan.hash,
  pods: plan.pods,
  zones: plan.zones,
  regions: plan.regions,
  refusals: plan.refusals,
  faults: plan.faults.map(({ use, fault, planned, permissions }) => ({
    fault: use.fault,
    with: use.with,
    expiry: fault.expiry,
    targets: planned.map(({ target, blast }) => ({ target, blast })),
    permissions,
  })),
});

/** Every fault that a file injects, whatever kind of file it is. */
export const faultUsesOf = async (
  document: import('./documents.ts').Document,
): Promise<readonly import('../experiments/plan.ts').FaultUse[]> => {
  const { experimentFaults } = await import('../experiments/schema.ts');
  if (document.kind === 'Experiment') return experimentFaults(document.experiment);
  const { injectedFaults } = await import('../drills/schema.ts');
  return injectedFaults(document.drill);
};

const plan = async (cli: Cli, name: string, options: Options): Promise<number> => {
  const { loadPlatform, loadScenario } = await import('./documents.ts');
  const { exitCodes } = await import('../core/errors.ts');
  const { planFaults } = await import('../experiments/plan.ts');
  const { reach } = await import('./session.ts');
  const platform = await loadPlatform(options.env);
  const document = await loadScenario(name, ['Experiment', 'Drill'], platform);
  const { session } = await reach(platform.environment, cli.clock);
  const made = await planFaults(session, 'plan', await faultUsesOf(document), options.seed ?? 1, cli.signal);
  cli.terminal.out(options.format === 'json' ? JSON.stringify(jsonOf(made), null, 2) : await textOf(made));
  return made.refusals.length === 0 ? exitCodes.pass : exitCodes.usage;
};

export const definePlan: Define = (program, perform) => {
  program
    .command('plan')
    .description('what would be touched, what would survive, which permissions it needs; changes nothing')
    .argument('<experiment>', 'name or file of an experiment or drill')
    .addOption(environmentOption())
    .option('--seed <number>', 'seed of its random choices', wholeNumber)
    .addOption(formatOption())
    .addHelpText('after', examples('plan blackhole-zone', 'plan region-failover --env lab --format json'))
    .action((name: string, options: Options) => perform((cli) => plan(cli, name, options)));
};
