/** Connections outward by account. */
import dns from 'node:dns';
import type { Socket } from 'node:net';
import type { Settings } from '../model/settings.ts';
import { createAddresses, type Resolve } from './addresses.ts';
import { type Connector, createConnector } from './connector.ts';
import { boundedResolve } from './resolver.ts';
import { createIsSelf } from './self.ts';

export interface ConnectorOptions {
  settings: Pick<Settings, 'listeners' | 'httpPort' | 'httpsPort' | 'apiPort' | 'egressAllow' | 'egressAllowByAccount'>;
  /** Instead of the system's resolver. */
  resolve?: Resolve;
  /** PEM of certificate authorities that origins may use; the system's by default. */
  ca?: string;
}

/** Connectors by account: each has its own allowed ranges, and its own share of name lookups. */
export function createConnectors({
  settings,
  resolve = dns.lookup,
  ca,
}: ConnectorOptions): (accountId: string) => Connector {
  const { egressAllow, egressAllowByAccount = {} } = settings;
  const ports = settings.listeners.map(({ name }) => Number(/:(\d+)$/.exec(name)?.[1]));
  const isSelf = createIsSelf([...ports, settings.httpPort, settings.httpsPort, settings.apiPort]);
  const connectors = new Map<string, Connector>();
  const connectorOf = (accountId: string) => {
    let connector = connectors.get(accountId);
    if (!connector) {
      const allow = [...egressAllow, ...(egressAllowByAccount[accountId] ?? [])];
      connector = createConnector(createAddresses(allow, boundedResolve(resolve)), isSelf, ca);
      connectors.set(accountId, connector);
    }
    return connector;
  };
  for (const accountId of Object.keys(egressAllowByAccount)) connectorOf(accountId);
  createAddresses(egressAllow);
  return connectorOf;
}

/** Connections to the S3 buckets that accounts move in from: under the same rules as those of their Workers. */
export function connectSource(connectorOf: (accountId: string) => Connector) {
  return (accountId: string, { secure, host, port }: { secure: boolean; host: string; port: number }): Socket =>
    connectorOf(accountId).open(
      { local: false, secure, host, port, servername: host, authority: host, refuseSelf: false },
      ['http/1.1'],
    );
}
