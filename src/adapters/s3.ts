import { lazily, readCredentials } from './aws-call.ts';

export interface ObjectSigner {
  /** Headers, `Authorization` among them, of a GET of this path at this host. Valid for some minutes. */
  signGet(host: string, path: string): Promise<Readonly<Record<string, string>>>;
}

/** Signs reads of objects (SigV4). Keys come from a shared credentials file, or from the SDK's own chain. */
export const createObjectSigner = (options: {
  readonly region: string;
  readonly credentialsFile: string | null;
}): ObjectSigner => {
  const { region, credentialsFile } = options;
  const load = lazily(async () => {
    const { SignatureV4 } = await import('@smithy/signature-v4');
    const { Hash } = await import('@smithy/core/serde');
    const credentials =
      credentialsFile === null
        ? (await import('@aws-sdk/credential-provider-node')).defaultProvider()
        : () => readCredentials(credentialsFile);
    // S3 alone signs the path as it was sent, not escaped once more.
    return new SignatureV4({
      service: 's3',
      region,
      credentials,
      sha256: Hash.bind(null, 'sha256'),
      uriEscapePath: false,
    });
  });
  return {
    async signGet(host, path) {
      const signer = await load();
      const { headers } = await signer.sign({
        method: 'GET',
        protocol: 'http:',
        hostname: host,
        path,
        headers: { host, 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' },
      });
      const { host: _, ...rest } = headers;
      return rest;
    },
  };
};
