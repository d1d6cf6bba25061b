/**
 * What an eyeball sees when there is no answer of a Worker: a page, or JSON for those who accept it, with Cloudflare's code, the ray id and
 * who can mend it. Codes: https://developers.cloudflare.com/workers/observability/errors/
 */
import type { Head } from './headers.ts';
import type { Reply } from './reply.ts';

/** Each error once: HTTP status, code as Cloudflare names it, what happened, who can mend it. */
export const EDGE_ERRORS = {
  badRequest: { status: 400, code: 400, title: 'Bad request', who: 'the sender of the request' },
  tooManyHeaders: {
    status: 431,
    code: 431,
    title: 'Request header fields too large',
    who: 'the sender of the request',
  },
  notImplemented: { status: 501, code: 501, title: 'Not implemented', who: 'the sender of the request' },
  version: { status: 505, code: 505, title: 'HTTP version not supported', who: 'the sender of the request' },
  tooLarge: {
    status: 413,
    code: 413,
    title: 'Payload too large',
    who: 'the sender of the request, or the operator of this edge by its limits',
  },
  methodNotAllowed: { status: 405, code: 405, title: 'Method not allowed', who: 'the sender of the request' },
  unknownHost: {
    status: 404,
    code: 1001,
    title: 'Nothing is served under this name',
    who: 'the owner of the site, by a route or a custom domain',
  },
  noDeployment: {
    status: 404,
    code: 1042,
    title: 'This Worker has no deployment',
    who: 'the owner of the site, by deploying it',
  },
  noWorker: { status: 404, code: 1043, title: 'No Worker answers here', who: 'the owner of the site, by its routes' },
  notFound: { status: 404, code: 404, title: 'Not found', who: 'the owner of the site' },
  exception: {
    status: 500,
    code: 1101,
    title: 'Worker threw exception',
    who: 'the owner of the site; `wrangler tail` shows the exception',
  },
  exceededCpu: {
    status: 503,
    code: 1102,
    title: 'Worker exceeded resource limits',
    who: 'the owner of the site; it used more CPU time than it may',
  },
  exceededMemory: {
    status: 503,
    code: 1102,
    title: 'Worker exceeded resource limits',
    who: 'the owner of the site; it used more memory than it may',
  },
  doesNotStart: {
    status: 503,
    code: 1101,
    title: 'Worker does not start',
    who: 'the owner of the site; `wrangler deploy` shows the reason',
  },
  busy: { status: 503, code: 1200, title: 'Too many requests at a time', who: 'the operator of this edge' },
  edge: { status: 502, code: 502, title: 'This edge cannot reach its Workers', who: 'the operator of this edge' },
} as const;

export type EdgeError = keyof typeof EDGE_ERRORS;

/** Answers with the error. `detail`: one more sentence for the page, shown as text. */
export function sendError(reply: Reply, head: Head | null, ray: string, error: EdgeError, detail = ''): void {
  reply.record.outcome = error;
  if (reply.started) {
    reply.cut();
    return;
  }
  const { status, code, title, who } = EDGE_ERRORS[error];
  const json = head?.wantsJson ?? false;
  const body = Buffer.from(
    json
      ? JSON.stringify({ success: false, errors: [{ code, message: detail ? `${title}: ${detail}` : title }], ray })
      : page(status, code, title, who, detail, ray),
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

function page(status: number, code: number, title: string, who: string, detail: string, ray: string): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${status} ${escapeHtml(title)}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:15vh auto;padding:0 1rem;color:#222;background:#fff}h1{font-size:1.5rem}p.facts{color:#595959;font-size:.875rem}@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}p.facts{color:#aaa}}</style>
</head><body><main>
<h1>Error ${code}: ${escapeHtml(title)}</h1>
${detail ? `<p>${escapeHtml(detail)}</p>\n` : ''}<p>Who can mend it: ${escapeHtml(who)}.</p>
<p class="facts">Status ${status} &middot; Ray ID ${escapeHtml(ray)} &middot; ${new Date().toISOString()}</p>
</main></body></html>
`;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
