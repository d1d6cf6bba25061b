// Elements marked as drafts are taken out of the page, unless the editor asks with ?preview=true.
const PAGE = `<!doctype html><html><body>
<article><h2>Published</h2></article>
<article data-draft><h2>Not yet</h2><p>Only for <b>editors</b>.</p></article>
</body></html>`;

export default {
  async fetch(request) {
    const preview = new URL(request.url).searchParams.get('preview') === 'true';
    const page = new Response(PAGE, { headers: { 'content-type': 'text/html', vary: 'accept' } });
    if (preview) {
      page.headers.set('cache-control', 'no-store');
      return page;
    }
    return new HTMLRewriter().on('[data-draft]', { element: (element) => element.remove() }).transform(page);
  },
};
