import { Option } from 'commander';
import { type Cli, counted, type Define, examples, type Format, formatOption, wholeNumber } from './command.ts';

interface Options {
  readonly every: string;
  readonly timeout: string;
  readonly slowAfter?: string;
  readonly for?: string;
  readonly connection: 'fresh' | 'kept';
  readonly seed?: number;
  readonly format: Format;
}

const noteEveryMs = 10_000;

const observeUrls = async (cli: Cli, urls: readonly string[], options: Options): Promise<number> => {
  const { formatDuration } = await import('../core/duration.ts');
  const { makeRunFolder, newRunId, reportsFolder } = await import('../experiments/run-folder.ts');
  const { observe, streamsOfUrls } = await import('../probes/observe.ts');
  const { durationOption } = await import('./durations.ts');
  const { concludeObservation } = await import('./reporting.ts');
  const { drawSeed } = await import('./run.ts');
  const { versions } = await import('./version.ts');
  const slowAfter =
    options.slowAfter === undefined ? {} : { slowAfterMs: durationOption('--slow-after', options.slowAfter) };
  const streams = streamsOfUrls(urls, {
    everyMs: durationOption('--every', options.every),
    timeoutMs: durationOption('--timeout', options.timeout),
    ...slowAfter,
    connection: options.connection,
  });
  const forMs = options.for === undefined ? null : durationOption('--for', options.for);
  const runId = newRunId(cli.clock, 'observe');
  const folder = await makeRunFolder(reportsFolder(), runId);
  const until = forMs === null ? 'until Ctrl-C' : `for ${formatDuration(forMs)}`;
  cli.terminal.note(`observing ${counted(urls.length, 'URL')} ${until}; every sample goes to ${folder}`);
  let notedMs = 0;
  const record = await observe({
    runId,
    folder,
    streams,
    forMs,
    seed: options.seed ?? (await drawSeed()),
    versions: versions(),
    clock: cli.clock,
    signal: cli.signal,
    onProgress: (counts, elapsedMs) => {
      if (elapsedMs - notedMs < noteEveryMs) return;
      notedMs = elapsedMs;
      for (const [stream, { good, bad, slow }] of counts) {
        cli.terminal.note(`[${formatDuration(elapsedMs)}] ${stream}: ${good} good, ${slow} slow, ${bad} bad`);
      }
    },
    onNote: (text) => cli.terminal.note(text),
  });
  return await concludeObservation(cli, record, folder, { format: options.format, hasEnd: forMs !== null });
};

export const defineObserve: Define = (program, perform) => {
  program
    .command('observe')
    .description('measures outages that somebody else causes: the instrument alone, no fault of ours')
    .argument('<url...>', 'http or https URLs; good is a 2xx answer in time')
    .option('--every <duration>', 'time between two probes', '100ms')
    .option('--timeout <duration>', 'after this a probe is bad', '1s')
    .option('--slow-after <duration>', 'after this an answer counts as slow; the time-out when left out')
    .option('--for <duration>', 'how long; until Ctrl-C when left out')
    .addOption(
      new Option('--connection <kind>', 'a new connection for each probe, or kept-alive ones')
        .choices(['fresh', 'kept'])
        .default('fresh'),
    )
    .option('--seed <number>', 'seed of the random phase of the schedule', wholeNumber)
    .addOption(formatOption())
    .addHelpText(
      'after',
      examples(
        'observe http://localhost:8080/health --for 3m',
        'observe http://127.0.0.1:8080/ --every 100ms --timeout 1s --for 3m --format json',
      ),
    )
    .action((urls: string[], options: Options) => perform((cli) => observeUrls(cli, urls, options)));
};
