import { type Cli, type Define, examples } from './command.ts';

/** One JSON Schema for every kind of file a person writes, derived from the registries. */
export const jsonSchema = async (): Promise<unknown> => {
  const { z } = await import('zod');
  const { schemas } = await import('./documents.ts');
  const { Experiment, Drill, Environment, Targets } = schemas;
  const options = { io: 'input', target: 'draft-2020-12', unrepresentable: 'throw' } as const;
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Files of blackstart',
    oneOf: [Experiment, Drill, Environment, Targets].map((schema) => {
      const { $schema: _, ...rest } = z.toJSONSchema(schema, options);
      return rest;
    }),
  };
};

const schema = async (cli: Cli): Promise<number> => {
  const { exitCodes } = await import('../core/errors.ts');
  cli.terminal.out(JSON.stringify(await jsonSchema(), null, 2));
  return exitCodes.pass;
};

export const defineSchema: Define = (program, perform) => {
  program
    .command('schema')
    .description('JSON Schema of experiment, drill, environment and targets files, for editors')
    .addHelpText('after', examples('schema > experiments/schema.json'))
    .action(() => perform(schema));
};
