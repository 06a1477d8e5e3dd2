import type { Alert } from '../../adapters/ports.ts';
import type { Observation } from '../../core/observation.ts';
import { compareLooks, type Observer } from './observer.ts';

type Bracket = { readonly minMs: number; readonly maxMs: number };
/** By fingerprint. */
type Firing = ReadonlyMap<string, Alert>;

const finestMs = 250;

const labelText = (labels: Alert['labels']): string =>
  Object.entries(labels)
    .filter(([name]) => name !== 'alertname')
    .map(([name, value]) => `${name}=${value}`)
    .toSorted()
    .join(' ');

const seen = (name: Observation['name'], alert: Alert, bracket: Bracket): Observation => ({
  name,
  subject: alert.name,
  ...bracket,
  source: 'alertmanager',
  data: {
    fingerprint: alert.fingerprint,
    labels: labelText(alert.labels),
    ...(alert.labels['region'] === undefined ? {} : { region: alert.labels['region'] }),
    receiver: alert.receivers.join(' '),
    description: alert.description,
    startsAt: alert.startsAt,
  },
});

/**
 * What changed between two looks at the alerts: one that was not shown and now is fired in between; one that began anew
 * in between had ended before. Pure.
 */
export const alertChanges = (before: Firing, now: Firing, bracket: Bracket): readonly Observation[] => {
  const isSame = (one: Alert | undefined, other: Alert | undefined): boolean =>
    one !== undefined && one.startsAt === other?.startsAt;
  const ended = [...before].filter(([key, alert]) => !isSame(alert, now.get(key)));
  const begun = [...now].filter(([key, alert]) => !isSame(alert, before.get(key)));
  return [
    ...ended.map(([, alert]) => seen('alert.resolved', alert, bracket)),
    ...begun.map(([, alert]) => seen('alert.fired', alert, bracket)),
  ];
};

/** Follows what fires in Alertmanager. Where none is named, it sees nothing; one that is silent is told as such. */
export const alertsObserver: Observer = {
  name: 'alertmanager',
  async watch(session, signal, see, lost) {
    const port = session.ports.alerts();
    if (port === null) return;
    const { clock } = session;
    /** Start of the last look that was answered; undefined before the first. */
    let answeredMs: number | undefined;
    let isLost = false;
    const tell = (name: Observation['name'], bracket: Bracket, data: Observation['data'] = {}): void =>
      see({ name, subject: 'alertmanager', ...bracket, source: 'alertmanager', data });
    const unseen = (): void => {
      if (isLost) tell('alert.unseen', { minMs: answeredMs ?? sinceMs, maxMs: clock.monotonicMs() });
      isLost = false;
    };
    const sinceMs = clock.monotonicMs();
    const look = async (callSignal: AbortSignal): Promise<Firing> => {
      const minMs = clock.monotonicMs();
      let alerts: readonly Alert[];
      try {
        alerts = await port.firing(callSignal);
      } catch (error) {
        if (!signal.aborted) isLost = true;
        throw error;
      }
      unseen();
      // That they are watched at all must be on record: no alert is then a finding, and not a blank.
      if (answeredMs === undefined) {
        const firing = alerts.map(({ name }) => name).toSorted();
        tell('alert.watched', { minMs, maxMs: clock.monotonicMs() }, { firing: firing.join(' ') });
      }
      answeredMs = minMs;
      return new Map(alerts.map((alert) => [alert.fingerprint, alert]));
    };
    try {
      await compareLooks(session, 'alertmanager', signal, lost, finestMs, look, (before, now, bracket) => {
        for (const change of alertChanges(before, now, bracket)) see(change);
      });
    } finally {
      unseen();
      port.close();
    }
  },
};
