import { z } from 'zod';
import { durationMs } from '../../core/duration.ts';
import { BlackstartError } from '../../core/errors.ts';
import { defineStep } from '../step.ts';

export const askPerson = defineStep({
  name: 'ask-person',
  summary: 'Asks a person to decide; with --approve auto it waits as long as the documentation gives people.',
  params: z.strictObject({ question: z.string().min(1), autoAfter: durationMs }),
  describe: ({ question }) => `a person decides: ${question}`,
  async run({ question, autoAfter }, running) {
    const { clock } = running.session;
    const minMs = clock.monotonicMs();
    const by = running.approve === 'auto' ? 'auto' : 'person';
    if (by === 'auto') {
      running.live({ type: 'awaiting', what: `the decision: ${question}`, atMostMs: running.real(autoAfter) });
      await clock.sleep(running.real(autoAfter), running.signal);
    } else {
      const answer = await running.ask(question, running.signal);
      if (!/^y(es)?$/i.test(answer.trim())) {
        throw new BlackstartError('ABORTED', `the person answered "${answer}"`, 'Everything is put back.');
      }
    }
    const maxMs = clock.monotonicMs();
    await running.see({
      name: 'decision',
      subject: question,
      minMs: maxMs,
      maxMs,
      source: 'runner',
      data: { by, waitedMs: maxMs - minMs },
    });
    await running.see({ name: 'hands.needed', subject: question, minMs, maxMs, source: 'runner', data: { by } });
  },
});
