/**
 * How this machine reaches its own edge: Workers fetch hosts that are served here, `selvedge status` and tests connect. That needs one plain
 * TCP listener of each scheme; where the configuration has none (unix sockets, PROXY protocol, systemd), one on loopback is added.
 */
import type { ListenSpec } from '../config/settings.ts';
import type { Settings } from '../model/settings.ts';
import type { OpenListener, Sockets } from '../pop/sockets.ts';

const LOOPBACK = '127.0.0.1';

function isPlain(spec: ListenSpec): boolean {
  return spec.address.kind === 'tcp' && !spec.proxyProtocol;
}

/** The host that connects to a listener on `host`: 0.0.0.0 and :: are no destinations. */
function reaching(host: string): string {
  if (host === '0.0.0.0' || host === '::') return LOOPBACK;
  return host;
}

/** The configured listeners, with what is missing. Both schemes have to be reached at the same address. */
export function withOwnWay(specs: ListenSpec[]): ListenSpec[] {
  const hosts = (scheme: string) =>
    specs.flatMap((spec) =>
      spec.scheme === scheme && isPlain(spec) && spec.address.kind === 'tcp' ? [reaching(spec.address.host)] : [],
    );
  if (hosts('http').some((host) => hosts('https').includes(host))) return specs;
  const added = (scheme: 'http' | 'https'): ListenSpec => ({
    scheme,
    proxyProtocol: false,
    address: { kind: 'tcp', host: LOOPBACK, port: 0 },
  });
  const missing = (['http', 'https'] as const).filter((scheme) => !hosts(scheme).includes(LOOPBACK));
  return [...specs, ...missing.map(added)];
}

/** The addresses and the listeners for `Settings`, of open sockets that `withOwnWay` completed. */
export function ownWay({ listeners }: Sockets): Pick<Settings, 'listen' | 'httpPort' | 'httpsPort' | 'listeners'> {
  const of = (scheme: string) => listeners.filter((each) => each.scheme === scheme && each.port && !each.proxyProtocol);
  for (const http of of('http')) {
    const same = (other: OpenListener) => reaching(other.host!) === reaching(http.host!);
    const https = of('https').find(same);
    if (!https) continue;
    return {
      listen: reaching(http.host!),
      httpPort: http.port!,
      httpsPort: https.port!,
      listeners: listeners.map(({ scheme, proxyProtocol, name }) => ({ scheme, proxyProtocol, name })),
    };
  }
  throw new Error('no listener by which this machine reaches its own edge');
}
