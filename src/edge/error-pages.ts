/**
 * What an eyeball sees when there is no answer of a Worker: a page, or JSON for those who accept it, with Cloudflare's code, the ray id and
 * who can mend it. Codes: https://developers.cloudflare.com/workers/observability/errors/
 */
import { parseAccept } from 'hono/utils/accept';
import type { Head } from './headers.ts';
import type { Reply } from './reply.ts';

export type Party = 'visitor' | 'site owner' | 'operator';

/** Each error once: HTTP status, code as Cloudflare names it, what happened, who can fix it and how. */
export const EDGE_ERRORS = {
  badRequest: {
    status: 400,
    code: 400,
    title: 'Bad request',
    party: 'visitor',
    how: 'The request is not one that a server may answer. Send it again in another way.',
  },
  tooManyHeaders: {
    status: 431,
    code: 431,
    title: 'Request header fields too large',
    party: 'visitor',
    how: 'Send fewer or shorter headers; cookies of this site may be deleted.',
  },
  notImplemented: {
    status: 501,
    code: 501,
    title: 'Not implemented',
    party: 'visitor',
    how: 'Send the body with a length or in chunks.',
  },
  version: {
    status: 505,
    code: 505,
    title: 'HTTP version not supported',
    party: 'visitor',
    how: 'HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here.',
  },
  tooLarge: {
    status: 413,
    code: 413,
    title: 'Payload too large',
    party: 'visitor',
    how: "Send less at a time. The bound is the operator's: plan.body_bytes.",
  },
  methodNotAllowed: {
    status: 405,
    code: 405,
    title: 'Method not allowed',
    party: 'visitor',
    how: 'Ask with another method.',
  },
  unknownHost: {
    status: 404,
    code: 1001,
    title: 'Nothing is served under this name',
    party: 'site owner',
    how: 'Deploy a Worker to this name, or give it a route or a custom domain.',
  },
  noDeployment: {
    status: 404,
    code: 1042,
    title: 'This Worker has no deployment',
    party: 'site owner',
    how: 'Deploy it.',
  },
  noWorker: {
    status: 404,
    code: 1043,
    title: 'No Worker answers here',
    party: 'site owner',
    how: 'A route says so: change the routes.',
  },
  notFound: { status: 404, code: 404, title: 'Not found', party: 'site owner', how: 'There is no such page.' },
  exception: {
    status: 500,
    code: 1101,
    title: 'Worker threw exception',
    party: 'site owner',
    how: 'wrangler tail shows the exception.',
  },
  exceededCpu: {
    status: 503,
    code: 1102,
    title: 'Worker exceeded resource limits',
    party: 'site owner',
    how: 'It used more CPU time than it may.',
  },
  exceededMemory: {
    status: 503,
    code: 1102,
    title: 'Worker exceeded resource limits',
    party: 'site owner',
    how: 'It used more memory than it may.',
  },
  doesNotStart: {
    status: 503,
    code: 1101,
    title: 'Worker does not start',
    party: 'site owner',
    how: 'wrangler deploy shows the reason.',
  },
  busy: {
    status: 503,
    code: 1200,
    title: 'Too many requests at a time',
    party: 'operator',
    how: 'Try again in a moment.',
  },
  edge: {
    status: 502,
    code: 502,
    title: 'This edge cannot reach its Workers',
    party: 'operator',
    how: 'Try again in a moment; the log of the edge says more, under the ray id.',
  },
} as const satisfies Record<string, { status: number; code: number; title: string; party: Party; how: string }>;

export type EdgeError = keyof typeof EDGE_ERRORS;

/** Answers with the error. `detail`: one more sentence for the page, shown as text. */
export function sendError(reply: Reply, head: Head | null, ray: string, error: EdgeError, detail = ''): void {
  reply.record.outcome = error;
  if (reply.started) {
    reply.cut();
    return;
  }
  const { status, code, title, party, how } = EDGE_ERRORS[error];
  const json = prefersJson(head?.accept ?? '');
  const body = Buffer.from(
    json
      ? JSON.stringify({ success: false, errors: [{ code, message: detail ? `${title}: ${detail}` : title }], ray })
      : page(status, code, title, party, how, detail, ray),
  );
  reply.head(status, [
    'Content-Type',
    json ? 'application/json' : 'text/html; charset=utf-8',
    'Content-Length',
    String(body.length),
    'Cache-Control',
    'no-store',
    'CF-Ray',
    ray,
    'Server',
    'selvedge',
  ]);
  if (head?.method === 'HEAD') reply.end();
  else reply.end(body);
}

/** HTML for who wants both alike, or anything. */
function prefersJson(accept: string): boolean {
  if (!/json/i.test(accept)) return false;
  const quality = (name: string) => parseAccept(accept).find(({ type }) => type.toLowerCase() === name)?.q ?? 0;
  return quality('application/json') > quality('text/html');
}

const PARTIES: [Party, string][] = [
  ['visitor', 'You'],
  ['site owner', 'The owner of the site'],
  ['operator', 'The operator of this edge'],
];

const STYLE = `:root{color-scheme:light dark;--ink:#1c1c1e;--soft:#55555c;--line:#d4d4da;--mark:#8a1c1c;--ground:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#ececf0;--soft:#b4b4bc;--line:#44444c;--mark:#ff9d94;--ground:#16161a}}
body{font:1rem/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);max-width:38rem;margin:12vh auto;padding:0 1rem}
h1{font-size:1.5rem;line-height:1.25;margin:0}h2{font-size:1rem;margin:1.5rem 0 .25rem}p{margin:.25rem 0}
ul{list-style:none;display:flex;flex-wrap:wrap;gap:.5rem;padding:0;margin:.25rem 0}
li{border:1px solid var(--line);border-radius:.25rem;padding:.125rem .5rem;color:var(--soft)}
li[aria-current]{border-color:var(--mark);color:var(--mark);font-weight:600}
footer{margin-top:2rem;padding-top:.75rem;border-top:1px solid var(--line);color:var(--soft);font-size:.875rem}`.replace(
  /\n/g,
  '',
);

function page(
  status: number,
  code: number,
  title: string,
  party: Party,
  how: string,
  detail: string,
  ray: string,
): string {
  const parties = PARTIES.map(([id, name]) => `<li${id === party ? ' aria-current="true"' : ''}>${name}</li>`).join('');
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${status} ${escapeHtml(title)}</title>
<style>${STYLE}</style>
</head><body><main>
<h1>Error ${code}: ${escapeHtml(title)}</h1>
${detail ? `<h2>What happened</h2><p>${escapeHtml(detail)}</p>\n` : ''}<h2>Who can fix it</h2><ul>${parties}</ul>
<p>${escapeHtml(how)}</p>
</main><footer>Ray ID ${escapeHtml(ray)} &middot; status ${status} &middot; ${new Date().toISOString()}</footer></body></html>
`;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
