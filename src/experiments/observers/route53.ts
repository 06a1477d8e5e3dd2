import { compareLooks, type Observer } from './observer.ts';

const finestMs = 500;

/** Follows the health checks that steer DNS: the moment one turns is the moment the platform detected something. */
export const route53Observer: Observer = {
  name: 'route53',
  async watch(session, signal, see, lost) {
    const port = session.ports.route53();
    const look = async (callSignal: AbortSignal): Promise<ReadonlyMap<string, boolean>> =>
      new Map((await port.healthChecks(callSignal)).map((check) => [check.region, check.healthy]));
    await compareLooks(session, 'route53', signal, lost, finestMs, look, (before, now, bracket) => {
      for (const [region, healthy] of now) {
        if (before.get(region) === healthy || !before.has(region)) continue;
        const name = healthy ? 'health.restored' : 'health.failed';
        see({ name, subject: region, ...bracket, source: 'route53', data: {} });
      }
    });
  },
};
