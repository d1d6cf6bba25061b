/** Keys of the ledger's documents. Parts never contain "/" except where they come last; ids are hex or UUIDs. */
export const keys = {
  account: (id: string) => `account/${id}`,
  accounts: 'account/',
  /** `subdomain` -> { accountId }: makes a subdomain unique. */
  subdomain: (name: string) => `subdomain/${name}`,
  token: (hash: string) => `token/${hash}`,
  tokens: 'token/',
  zone: (name: string) => `zone/${name}`,
  zones: 'zone/',
  /** Pattern last: one pattern belongs to one script. */
  route: (zoneId: string, pattern: string) => `route/${zoneId}/${pattern}`,
  routes: (zoneId?: string) => (zoneId ? `route/${zoneId}/` : 'route/'),
  domain: (hostname: string) => `domain/${hostname}`,
  domains: 'domain/',
  /** Host name -> where its origin is. */
  origin: (hostname: string) => `origin/${hostname}`,
  origins: 'origin/',
  script: (accountId: string, name: string) => `script/${accountId}/${name}`,
  scripts: (accountId?: string) => (accountId ? `script/${accountId}/` : 'script/'),
  version: (accountId: string, script: string, id: string) => `version/${accountId}/${script}/${id}`,
  versions: (accountId?: string, script?: string) =>
    accountId ? (script ? `version/${accountId}/${script}/` : `version/${accountId}/`) : 'version/',
  deployment: (accountId: string, script: string, id: string) => `deployment/${accountId}/${script}/${id}`,
  deployments: (accountId: string, script: string) => `deployment/${accountId}/${script}/`,
  /** The newest rollout of a script. */
  rollout: (accountId: string, script: string) => `rollout/${accountId}/${script}`,
  rollouts: 'rollout/',
  /** What the client called a file (32 hex digits) -> its blob: files are stored once per account, never shared across accounts. */
  asset: (accountId: string, hash: string) => `asset/${accountId}/${hash}`,
  /** D1 databases; what is in them is not in the ledger. */
  d1: (accountId?: string, id?: string) => (accountId === undefined ? 'd1/' : `d1/${accountId}/${id}`),
  /** The sealed key that signs tokens of asset uploads. */
  assetsKey: 'asset-key',
};
