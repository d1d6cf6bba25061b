/** Offers visitors from another country their local site: a banner at the top of the page, by `request.cf.country`. */
interface Env {
  HOME_COUNTRY: string;
  SITES: Record<string, string>;
}

const PAGE = '<!doctype html><html><head><title>Shop</title></head><body><h1>Our shop</h1></body></html>';

/** The local site of a visitor, or undefined if this one is theirs. */
export function localSite(country: string, env: Env): string | undefined {
  return country === env.HOME_COUNTRY ? undefined : env.SITES[country];
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const country = request.headers.get('CF-IPCountry') ?? 'XX';
    const page = new Response(PAGE, { headers: { 'content-type': 'text/html; charset=utf-8' } });
    const site = localSite(country, env);
    if (!site) return page;
    const { HTMLRewriter } = globalThis as unknown as { HTMLRewriter: new () => any };
    return new HTMLRewriter()
      .on('body', {
        element(body: { prepend(html: string, options: { html: boolean }): void }) {
          body.prepend(`<p class="banner">You are in ${country}: <a href="${site}">go to your local site</a></p>`, {
            html: true,
          });
        },
      })
      .transform(page);
  },
};
