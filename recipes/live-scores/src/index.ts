/** Puts live scores from an API into a page that is otherwise static: into every element with `data-match`. */
interface Env {
  ASSETS: { fetch(request: Request): Promise<Response> };
  SCORES: string;
}

/** The page is there without the API too: no score is better than no page. */
async function scores(url: string): Promise<Record<string, string>> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(500) });
    return response.ok ? await response.json() : {};
  } catch {
    return {};
  }
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    // Both are on their way at the same time.
    const [page, live] = await Promise.all([env.ASSETS.fetch(request), scores(env.SCORES)]);
    if (!page.headers.get('content-type')?.startsWith('text/html')) return page;
    const { HTMLRewriter } = globalThis as unknown as { HTMLRewriter: new () => any };
    const rewritten: Response = new HTMLRewriter()
      .on('[data-match]', {
        element(element: { getAttribute(name: string): string; setInnerContent(text: string): void }) {
          const score = live[element.getAttribute('data-match')];
          if (score) element.setInnerContent(score);
        },
      })
      .transform(page);
    const answer = new Response(rewritten.body, rewritten);
    answer.headers.set('cache-control', 'no-store');
    answer.headers.delete('etag');
    return answer;
  },
};
