import { readFile } from 'node:fs/promises';
import { BlackstartError, messageOf } from '../core/errors.ts';

export interface AwsOptions {
  /** Null uses AWS's own endpoints. */
  readonly endpoint: string | null;
  /** A shared credentials file, profile `default`; null leaves the SDK's own chain. */
  readonly credentialsFile: string | null;
}

const connectionTimeoutMs = 3000;
const requestTimeoutMs = 15_000;
const attemptsMax = 3;

/** What an adapter needs to make a client and to call it. */
export interface AwsCaller {
  readonly region: string;
  readonly config: {
    readonly region: string;
    readonly endpoint?: string;
    readonly credentials?: () => Promise<{ accessKeyId: string; secretAccessKey: string }>;
    readonly maxAttempts: number;
    readonly requestHandler: { readonly connectionTimeout: number; readonly requestTimeout: number };
  };
  /** Makes one call, bounded by the signal, and words its failure. */
  call<T>(
    operation: string,
    signal: AbortSignal,
    send: (options: { readonly abortSignal: AbortSignal }) => Promise<T>,
  ): Promise<T>;
}

export const readCredentials = async (file: string): Promise<{ accessKeyId: string; secretAccessKey: string }> => {
  const text = await readFile(file, 'utf8');
  const section = /^\s*\[default\]\s*$([^[]*)/m.exec(text)?.[1] ?? '';
  const value = (name: string): string | undefined => new RegExp(`^\\s*${name}\\s*=\\s*(\\S+)`, 'm').exec(section)?.[1];
  const accessKeyId = value('aws_access_key_id');
  const secretAccessKey = value('aws_secret_access_key');
  if (accessKeyId !== undefined && secretAccessKey !== undefined) return { accessKeyId, secretAccessKey };
  throw new BlackstartError(
    'UNREACHABLE',
    `${file} holds no access key for the profile "default"`,
    'Write aws_access_key_id and aws_secret_access_key under [default].',
  );
};

/** The error code of an AWS answer, such as `ResourceNotFoundException`; empty for anything else. */
export const awsCodeOf = (error: unknown): string => (error instanceof Error && '$metadata' in error ? error.name : '');

/** A refusal the adapter itself words; carries AWS's code so that callers inside the adapter can branch on it. */
export class AwsCallError extends BlackstartError {
  /** AWS's error code; empty when AWS did not answer. */
  readonly awsCode: string;

  constructor(awsCode: string, message: string, hint: string, cause: unknown) {
    super('UNREACHABLE', message, hint, { cause });
    this.awsCode = awsCode;
  }
}

const credentialCodes =
  /Signature|InvalidClientToken|UnrecognizedClient|AuthFailure|ExpiredToken|CredentialsProvider|MissingAuth/;
const permissionCodes = /AccessDenied|UnauthorizedOperation|NotAuthorized/;

const hintFor = (code: string): string => {
  if (credentialCodes.test(code))
    return 'Check the credentials and this machine\'s clock; "aws sts get-caller-identity".';
  if (permissionCodes.test(code)) return 'Grant the permission; "blackstart plan" lists those that are needed.';
  if (code === '') return 'Check the endpoint, the network and, for a lab, "blackstart lab status".';
  return 'See what AWS says; "blackstart plan" shows what the run needs.';
};

const wordFailure = (what: string, error: unknown): unknown => {
  if (error instanceof BlackstartError) return error;
  const code = awsCodeOf(error) || (error instanceof Error && credentialCodes.test(error.name) ? error.name : '');
  return new AwsCallError(code, `${what}: ${code === '' ? '' : `${code}: `}${messageOf(error)}`, hintFor(code), error);
};

/** Resolves to `undefined` when the call fails with one of these AWS codes. */
export const unless = async <T>(codes: readonly string[], call: Promise<T>): Promise<T | undefined> => {
  try {
    return await call;
  } catch (error) {
    if (error instanceof AwsCallError && codes.includes(error.awsCode)) return undefined;
    throw error;
  }
};

/** Loads once, when first asked. */
export const lazily = <T>(load: () => Promise<T>): (() => Promise<T>) => {
  let loading: Promise<T> | undefined;
  return () => {
    loading ??= load();
    return loading;
  };
};

/** Reads every page of a list, at most `pagesMax` of them. */
export const allPages = async <T>(
  read: (token: string | undefined) => Promise<{ readonly items: readonly T[]; readonly next: string | undefined }>,
): Promise<readonly T[]> => {
  const items: T[] = [];
  let token: string | undefined;
  for (let page = 0; page < pagesMax; page += 1) {
    const { items: found, next } = await read(token);
    items.push(...found);
    if (next === undefined || next === '') return items;
    token = next;
  }
  throw new BlackstartError(
    'UNREACHABLE',
    `a list of AWS has more than ${pagesMax} pages`,
    'Clean up what is not needed.',
  );
};

const pagesMax = 200;

export const tagsOf = (
  tags: readonly { readonly Key?: string | undefined; readonly Value?: string | undefined }[] | undefined,
): Readonly<Record<string, string>> =>
  Object.fromEntries((tags ?? []).map(({ Key, Value }): [string, string] => [Key ?? '', Value ?? '']));

/** Calls of one service in one region. */
export const callerFor = (service: string, region: string, { endpoint, credentialsFile }: AwsOptions): AwsCaller => ({
  region,
  config: {
    region,
    maxAttempts: attemptsMax,
    requestHandler: { connectionTimeout: connectionTimeoutMs, requestTimeout: requestTimeoutMs },
    ...(endpoint === null ? {} : { endpoint }),
    ...(credentialsFile === null ? {} : { credentials: () => readCredentials(credentialsFile) }),
  },
  async call(operation, signal, send) {
    signal.throwIfAborted();
    try {
      return await send({ abortSignal: signal });
    } catch (error) {
      signal.throwIfAborted();
      throw wordFailure(`AWS ${service} ${operation} in ${region}`, error);
    }
  },
});
