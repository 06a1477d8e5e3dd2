import { readFileSync } from 'node:fs';
import path from 'node:path';
import { stringify } from 'yaml';
import { forwardPort, type LabLayout } from './layout.ts';
import { files, writeWhole } from './state.ts';

const kubeconfigOf = (layout: LabLayout): string => {
  const authority = readFileSync(path.join(layout.stateDir, 'ca.pem')).toString('base64');
  const { regions } = layout.environment;
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': regions.find(({ role }) => role === 'primary')?.kubernetes.context,
    clusters: regions.map(({ name }) => ({
      name,
      cluster: {
        server: `https://127.0.0.1:${forwardPort(layout, 'operator', `kubernetes/${name}`)}`,
        'certificate-authority-data': authority,
      },
    })),
    users: [{ name: 'blackstart', user: { token: layout.token } }],
    contexts: regions.map(({ name, kubernetes }) => ({
      name: kubernetes.context,
      context: { cluster: name, user: 'blackstart', namespace: kubernetes.namespace },
    })),
  });
};

/** Writes what other programs need to reach the lab, secrets included, for the owner alone. */
export const writeClientFiles = (layout: LabLayout): void => {
  const { kubeconfig, awsCredentials, databasePassword } = files(layout.stateDir);
  writeWhole(kubeconfig, kubeconfigOf(layout));
  writeWhole(
    awsCredentials,
    `[default]\naws_access_key_id = ${layout.awsAccessKeyId}\naws_secret_access_key = ${layout.token}\n`,
  );
  writeWhole(databasePassword, layout.databasePassword);
};
