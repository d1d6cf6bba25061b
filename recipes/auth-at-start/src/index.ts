/**
 * What a browser asks at its start: may this employee go on, and to which sites? The whole company's permissions are one big value (`permissions.txt`,
 * a line "user<TAB>token hash<TAB>sites" each) that is parsed once per process, not per request.
 */
import list from './permissions.txt';

interface Permission {
  hash: string;
  sites: string[];
}

const USERS = new Map<string, Permission>();
for (const line of (list as string).split('\n')) {
  const [user, hash, sites] = line.split('\t');
  if (user && hash && sites) USERS.set(user, { hash, sites: sites.split(',') });
}

async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

export default {
  async fetch(request: Request): Promise<Response> {
    const [scheme, credentials = ''] = (request.headers.get('authorization') ?? '').split(' ');
    const [user = '', token = ''] = credentials.split(':');
    const known = USERS.get(user);
    // The hash is compared in any case: the time says nothing of which users there are.
    const hash = await sha256(token);
    if (scheme !== 'Start' || !known || known.hash !== hash) {
      return Response.json({ allowed: false }, { status: 401, headers: { 'www-authenticate': 'Start' } });
    }
    const site = new URL(request.url).searchParams.get('site');
    const allowed = site === null || known.sites.includes(site);
    return Response.json({ allowed, sites: known.sites }, { status: allowed ? 200 : 403 });
  },
};
