/** Exit codes of the command line; what each means is documented in README and `blackstart --help`. */
export const exitCodes = {
  pass: 0,
  fail: 1,
  inconclusive: 2,
  rollbackIncomplete: 3,
  usage: 64,
  bug: 70,
  aborted: 130,
} as const;

export type ErrorCode =
  | 'USAGE' // bad arguments
  | 'BAD_FILE' // a file a person wrote does not parse or does not fit
  | 'PLAN_REFUSED' // limits, guards, permissions, drift since plan
  | 'UNREACHABLE' // an API, database or lab that should answer does not
  | 'LOCKED' // somebody else works on this environment
  | 'ABORTED' // Ctrl-C, abort command, run too long, guard tripped
  | 'BASELINE' // steady state did not hold
  | 'INJECT_FAILED' // the fault could not be injected
  | 'CONFLICT' // somebody else changed the resource meanwhile: undo hands over a diff instead of overwriting
  | 'ROLLBACK_INCOMPLETE' // something may still be broken
  | 'CORRUPT'; // a journal or record of ours does not fit its schema

const exitCodeOf: Record<ErrorCode, number> = {
  USAGE: exitCodes.usage,
  BAD_FILE: exitCodes.usage,
  PLAN_REFUSED: exitCodes.usage,
  UNREACHABLE: exitCodes.inconclusive,
  LOCKED: exitCodes.usage,
  ABORTED: exitCodes.aborted,
  BASELINE: exitCodes.inconclusive,
  INJECT_FAILED: exitCodes.inconclusive,
  CONFLICT: exitCodes.rollbackIncomplete,
  ROLLBACK_INCOMPLETE: exitCodes.rollbackIncomplete,
  CORRUPT: exitCodes.bug,
};

/**
 * A known error: one line saying what is wrong and where, one line saying what to do. Anything else that is thrown is
 * a bug and keeps its stack.
 */
export class BlackstartError extends Error {
  readonly isBlackstartError = true;
  readonly code: ErrorCode;
  /** What to do next, one line. */
  readonly hint: string;

  constructor(code: ErrorCode, message: string, hint: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'BlackstartError';
    this.code = code;
    this.hint = hint;
  }

  get exitCode(): number {
    return exitCodeOf[this.code];
  }
}

export const isBlackstartError = (error: unknown): error is BlackstartError =>
  typeof error === 'object' && error !== null && 'isBlackstartError' in error;

/** The message of anything that was thrown, on one line. */
export const messageOf = (error: unknown): string =>
  (error instanceof Error ? error.message || error.name : String(error)).replaceAll(/\s+/g, ' ').trim();

/** Is this the file system's "no such file or folder"? */
export const isFileMissing = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'ENOENT';
