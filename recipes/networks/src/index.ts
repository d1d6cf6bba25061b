/** Which networks does a page depend on? Finds the hosts of all that a page loads, resolves them, and says whose networks they are in. */
interface Env {
  RESOLVER: string;
  NETWORKS: string;
}
interface Network {
  asn: number;
  name: string;
  hosts: string[];
}

const MAX_HOSTS = 50;
const LOADS: [selector: string, attribute: string][] = [
  ['script[src]', 'src'],
  ['img[src]', 'src'],
  ['iframe[src]', 'src'],
  ['link[rel~="stylesheet"]', 'href'],
  ['link[rel~="icon"]', 'href'],
  ['link[rel~="preload"]', 'href'],
];

/** Hosts of the page and of what it loads, as it streams by. */
async function hostsOf(url: URL): Promise<Set<string>> {
  const page = await fetch(url);
  if (!page.ok) throw new Error(`the page answered ${page.status}`);
  const hosts = new Set([url.hostname]);
  const { HTMLRewriter } = globalThis as unknown as { HTMLRewriter: new () => any };
  const rewriter = new HTMLRewriter();
  for (const [selector, attribute] of LOADS) {
    rewriter.on(selector, {
      element(element: { getAttribute(name: string): string | null }) {
        const loaded = URL.parse(element.getAttribute(attribute) ?? '', url);
        if (loaded?.protocol.startsWith('http') && hosts.size < MAX_HOSTS) hosts.add(loaded.hostname);
      },
    });
  }
  await rewriter.transform(page).arrayBuffer();
  return hosts;
}

async function addressOf(host: string, resolver: string): Promise<string | undefined> {
  if (/^[\d.]+$/.test(host)) return host;
  const answer = await fetch(`${resolver}?name=${encodeURIComponent(host)}&type=A`, {
    headers: { accept: 'application/dns-json' },
  });
  const { Answer = [] } = (await answer.json()) as { Answer?: { type: number; data: string }[] };
  return Answer.find(({ type }) => type === 1)?.data;
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const url = URL.parse(new URL(request.url).searchParams.get('url') ?? '');
    if (!url?.protocol.startsWith('http'))
      return Response.json({ error: 'Give a page by ?url=https://...' }, { status: 400 });
    const networks = new Map<number, Network>();
    const unknown: string[] = [];
    try {
      await Promise.all(
        [...(await hostsOf(url))].map(async (host) => {
          const address = await addressOf(host, env.RESOLVER);
          const found = address ? await fetch(`${env.NETWORKS}/${address}`) : undefined;
          if (!found?.ok) return unknown.push(host);
          const { asn, name } = (await found.json()) as Network;
          const network = networks.get(asn) ?? { asn, name, hosts: [] };
          network.hosts.push(host);
          networks.set(asn, network);
        }),
      );
    } catch (error) {
      return Response.json({ error: error instanceof Error ? error.message : String(error) }, { status: 502 });
    }
    const all = [...networks.values()].sort((a, b) => b.hosts.length - a.hosts.length || a.asn - b.asn);
    for (const { hosts } of all) hosts.sort();
    return Response.json({ networks: all, unknown: unknown.sort() });
  },
};
