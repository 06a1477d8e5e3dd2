import { confirms, hasFailed, probesNeeded, type Window } from './window.ts';

/** An outage opens when this many of the last few evidence probes are not up. */
export const openingRule = { opens: 3, among: 5 } as const;

/** One stretch of an outage between two recoveries that did not last. Numbers are the caller's positions of probes. */
export interface RawEpisode {
  /** Last probe up before it; `null` when none was seen. */
  readonly before: number | null;
  readonly first: number;
  last: number;
  /** First probe up after `last`. */
  recovered: number | null;
}

export interface RawOutage {
  readonly episodes: RawEpisode[];
  /** Candidate of the confirmed recovery, or the present candidate; it moves when a window fails without a relapse. */
  candidate: number | null;
  confirmed: boolean;
}

export interface Progress {
  readonly state: 'up' | 'down' | 'confirming';
  /** Evidence probes of the present window, or since the start when no outage is open. */
  readonly probes: number;
  /** Evidence probes at which it is confirmed if nothing more goes wrong. */
  readonly needed: number;
}

interface Fault {
  readonly ordinal: number;
  readonly position: number;
  readonly bad: boolean;
  readonly before: number | null;
  /** First probe up after it. */
  after: { readonly ordinal: number; readonly position: number } | null;
}

export interface Tracker {
  /** One evidence probe, in send order. `up`: it says the service is up; `bad`: it is an error, not only late. */
  push(position: number, up: boolean, bad: boolean): void;
  progress(): Progress;
  /** An outage is open and nothing has been up since. */
  isDown(): boolean;
  /** Closed outages and the one that is open, in order. */
  outages(): readonly RawOutage[];
}

/** A first-in first-out list without the cost of `shift`. */
const createQueue = <T>() => {
  let items: T[] = [];
  let head = 0;
  return {
    get size() {
      return items.length - head;
    },
    at: (index: number): T | undefined => items[index < 0 ? items.length + index : head + index],
    push: (item: T): void => {
      items.push(item);
    },
    drop(): T | undefined {
      const item = items[head];
      head += 1;
      if (head > 1024 && head * 2 > items.length) {
        items = items.slice(head);
        head = 0;
      }
      return item;
    },
    clear(): void {
      items = [];
      head = 0;
    },
  };
};

/** The probes of the present window that are not so good, with running counts: each is added and dropped once. */
const createWindowFaults = () => {
  const queue = createQueue<Fault>();
  let badCount = 0;
  return {
    get bad() {
      return badCount;
    },
    get late() {
      return queue.size - badCount;
    },
    add(fault: Fault): void {
      queue.push(fault);
      if (fault.bad) badCount += 1;
    },
    drop(): Fault | undefined {
      const fault = queue.drop();
      if (fault?.bad) badCount -= 1;
      return fault;
    },
    first: (): Fault | undefined => queue.at(0),
    /** The service answered again: every fault at the tail that still waited for that is told. */
    answered(ordinal: number, position: number): void {
      for (let index = queue.size - 1; index >= 0; index -= 1) {
        const fault = queue.at(index);
        if (fault === undefined || fault.after !== null) return;
        fault.after = { ordinal, position };
      }
    },
    clear(): void {
      queue.clear();
      badCount = 0;
    },
  };
};

const notYetConfirmed = (): RawOutage => ({
  episodes: [{ before: null, first: 0, last: 0, recovered: 0 }],
  candidate: null,
  confirmed: false,
});

/**
 * The rules by which an outage opens, relapses and is confirmed over, one evidence probe at a time; the same for a run
 * that goes on and for a record that is read later. All instants are back-dated by the caller, from the positions.
 * `startsUnconfirmed`: the first probe up is a candidate already, so that a service counts as up once confirmed.
 */
export const createTracker = (window: Window, startsUnconfirmed = false): Tracker => {
  const closed: RawOutage[] = [];
  const faults = createWindowFaults();
  let open: RawOutage | undefined = startsUnconfirmed ? notYetConfirmed() : undefined;
  let ordinal = 0;
  let lastUp: number | null = null;
  /** Probes not up among the last few, for the opening rule; none of an episode that is already counted. */
  let recent: Fault[] = [];
  /** Ordinal of the candidate; 0 while there is none. */
  let candidate = 0;

  const opens = (): boolean => {
    recent = recent.filter((fault) => fault.ordinal > ordinal - openingRule.among);
    return recent.length >= openingRule.opens;
  };

  const beginEpisode = (position: number): RawEpisode => {
    const first = recent[0];
    recent = [];
    candidate = 0;
    faults.clear();
    return { before: first?.before ?? null, first: first?.position ?? position, last: position, recovered: null };
  };

  const become = (next: { readonly ordinal: number; readonly position: number }, outage: RawOutage): void => {
    candidate = next.ordinal;
    outage.candidate = next.position;
    recent = recent.filter((fault) => fault.ordinal >= next.ordinal);
  };

  /** A window that fails without a relapse starts again at the first probe up after its first fault. */
  const moveWhileFailing = (outage: RawOutage): void => {
    while (candidate > 0 && hasFailed(window, faults)) {
      const next = faults.first()?.after ?? null;
      if (next === null) {
        candidate = 0;
        outage.candidate = null;
        faults.clear();
        return;
      }
      while ((faults.first()?.ordinal ?? Number.POSITIVE_INFINITY) < next.ordinal) faults.drop();
      become(next, outage);
    }
  };

  const confirmWhenFull = (outage: RawOutage): void => {
    if (candidate === 0) return;
    if (!confirms(window, { probes: ordinal - candidate + 1, bad: faults.bad, late: faults.late })) return;
    outage.confirmed = true;
    closed.push(outage);
    open = undefined;
    candidate = 0;
    faults.clear();
  };

  const pushUp = (position: number): void => {
    faults.answered(ordinal, position);
    if (open === undefined) return;
    const episode = open.episodes.at(-1);
    if (candidate === 0) {
      if (episode !== undefined) episode.recovered ??= position;
      candidate = ordinal;
      open.candidate = position;
    }
    confirmWhenFull(open);
  };

  const pushFault = (fault: Fault): void => {
    const episode = open?.episodes.at(-1);
    if (open !== undefined && episode !== undefined && episode.recovered === null) {
      episode.last = fault.position;
      return;
    }
    recent.push(fault);
    if (opens()) {
      if (open === undefined) open = { episodes: [], candidate: null, confirmed: false };
      open.candidate = null;
      open.episodes.push(beginEpisode(fault.position));
      return;
    }
    if (open === undefined || candidate === 0) return;
    if (ordinal - candidate < openingRule.opens) {
      // The edge flickers: as it takes three probes to open an outage, it takes three in a row to begin its end.
      candidate = 0;
      open.candidate = null;
      faults.clear();
      return;
    }
    faults.add(fault);
    moveWhileFailing(open);
    if (open !== undefined) confirmWhenFull(open);
  };

  return {
    push(position, up, bad) {
      ordinal += 1;
      if (up) {
        pushUp(position);
        lastUp = position;
      } else pushFault({ ordinal, position, bad, before: lastUp, after: null });
    },
    progress() {
      const needed = probesNeeded(window, faults) ?? Number.POSITIVE_INFINITY;
      if (open === undefined) return { state: 'up', probes: ordinal, needed };
      if (candidate === 0) return { state: 'down', probes: 0, needed };
      return { state: 'confirming', probes: ordinal - candidate + 1, needed };
    },
    isDown: () => open !== undefined && candidate === 0,
    outages: () => (open === undefined ? closed : [...closed, open]),
  };
};
