import { type AnyResource, accessReviews, allResources, verbs } from './resources.ts';

const gitVersion = 'v1.34.0-lab';

const versionDocument = {
  major: '1',
  minor: '34',
  gitVersion,
  gitCommit: '',
  gitTreeState: 'clean',
  buildDate: '2025-09-01T00:00:00Z',
  goVersion: '',
  compiler: '',
  platform: `${process.platform}/${process.arch}`,
};

export const kubeletVersion = gitVersion;

const subresourceKinds: Readonly<Record<string, { group: string; version: string; kind: string; verbs: string[] }>> = {
  scale: { group: 'autoscaling', version: 'v1', kind: 'Scale', verbs: ['get', 'patch', 'update'] },
  eviction: { group: 'policy', version: 'v1', kind: 'Eviction', verbs: ['create'] },
};

const resourceEntries = (resource: AnyResource): readonly unknown[] => {
  const { plural, singular, kind, namespaced, shortNames, categories } = resource;
  const offered = resource === accessReviews ? ['create'] : verbs;
  return [
    { name: plural, singularName: singular, namespaced, kind, verbs: offered, shortNames, categories },
    ...resource.subresources
      .filter((name) => name !== 'binding')
      .map((name) => ({
        name: `${plural}/${name}`,
        singularName: '',
        namespaced,
        kind,
        verbs: name === 'log' ? ['get'] : ['get', 'patch', 'update'],
        ...subresourceKinds[name],
      })),
  ];
};

const groupVersions = [
  ...new Set(allResources.map(({ group, version }) => (group === '' ? '' : `${group}/${version}`))),
];

const groupDocument = (groupVersion: string): Record<string, unknown> => {
  const [name, version] = groupVersion.split('/');
  const entry = { groupVersion, version };
  return { name, versions: [entry], preferredVersion: entry };
};

const resourceList = (groupVersion: string): Record<string, unknown> => ({
  kind: 'APIResourceList',
  apiVersion: 'v1',
  groupVersion,
  resources: allResources
    .filter(({ group, version }) => (group === '' ? version : `${group}/${version}`) === groupVersion)
    .flatMap(resourceEntries),
});

const documents = new Map<string, unknown>([
  ['/version', versionDocument],
  ['/api', { kind: 'APIVersions', apiVersion: 'v1', versions: ['v1'], serverAddressByClientCIDRs: [] }],
  ['/api/v1', resourceList('v1')],
  [
    '/apis',
    { kind: 'APIGroupList', apiVersion: 'v1', groups: groupVersions.filter((one) => one !== '').map(groupDocument) },
  ],
  ['/openapi/v3', { paths: {} }],
]);
for (const groupVersion of groupVersions.filter((one) => one !== '')) {
  const [group = ''] = groupVersion.split('/');
  documents.set(`/apis/${group}`, { kind: 'APIGroup', apiVersion: 'v1', ...groupDocument(groupVersion) });
  documents.set(`/apis/${groupVersion}`, resourceList(groupVersion));
}

/** What a client reads to learn which resources are served; undefined when `path` is no discovery document. */
export const discoveryAt = (path: string): unknown => documents.get(path);
