/**
 * Passive health: a target that failed a real request is left alone for a while, longer each time it fails again, and
 * then gets another chance. When every target is out, all are offered: a guess is better than a refusal.
 */
export interface Ejection {
  failed(key: string): void;
  succeeded(key: string): void;
  /** The targets that are not out now; all of them when every one is. */
  offer<T extends { readonly key: string }>(targets: readonly T[]): readonly T[];
}

interface Record {
  untilMs: number;
  times: number;
}

const keysMax = 1000;

export const createEjection = (nowMs: () => number, firstMs: number, longestMs: number): Ejection => {
  const out = new Map<string, Record>();
  return {
    failed(key) {
      const times = (out.get(key)?.times ?? 0) + 1;
      // Pods come and go: forgetting the oldest keeps the table small for ever.
      if (out.size >= keysMax) for (const oldest of [...out.keys()].slice(0, keysMax / 2)) out.delete(oldest);
      out.delete(key);
      out.set(key, { times, untilMs: nowMs() + Math.min(longestMs, firstMs * 2 ** (times - 1)) });
    },
    succeeded(key) {
      if (out.size > 0) out.delete(key);
    },
    offer(targets) {
      if (out.size === 0) return targets;
      const now = nowMs();
      const left = targets.filter((target) => (out.get(target.key)?.untilMs ?? 0) <= now);
      return left.length === 0 ? targets : left;
    },
  };
};
