/** What an AWS API refuses with: HTTP status, error code, message. Each protocol wraps it in its own way. */
export class AwsError extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.name = 'AwsError';
    this.status = status;
    this.code = code;
  }
}
