// What failures are called in samples. Kept apart from the clients, so that knowing the words costs nothing to import.

/** A question that got no usable answer: `nxdomain`, `servfail`, `refused`, `timeout`, `malformed`… */
export class DnsError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'DnsError';
    this.code = code;
  }
}

/** The code of an error, or of the error that caused it. */
export const codeOf = (error: unknown): string => {
  for (let one: unknown = error; one instanceof Error; one = one.cause) {
    if ('code' in one && typeof one.code === 'string') return one.code;
    if (one instanceof AggregateError && one.errors.length > 0) return codeOf(one.errors[0]);
  }
  return 'unknown';
};

const failures: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'refused',
  ECONNRESET: 'reset',
  EPIPE: 'reset',
  UND_ERR_SOCKET: 'reset',
  ETIMEDOUT: 'timeout',
  UND_ERR_CONNECT_TIMEOUT: 'timeout',
  UND_ERR_HEADERS_TIMEOUT: 'timeout',
  UND_ERR_BODY_TIMEOUT: 'timeout',
  UND_ERR_ABORTED: 'timeout',
  UND_ERR_DESTROYED: 'reset',
  UND_ERR_CLOSED: 'reset',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'truncated',
  EHOSTUNREACH: 'unreachable',
  ENETUNREACH: 'unreachable',
  EHOSTDOWN: 'unreachable',
};

/** What an error code is called in a sample; a connection lost after the head is a truncated answer. */
export const failureOf = (code: string, answered: boolean): string => {
  const known = failures[code];
  if (answered && known === 'reset') return 'truncated';
  if (known !== undefined) return known;
  if (code.startsWith('HPE_')) return 'protocol';
  return code.startsWith('ERR_TLS') || code.startsWith('ERR_SSL') || code.includes('CERT') ? 'tls' : code.toLowerCase();
};
