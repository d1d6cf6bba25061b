// A misspelt brand name is mended in the text of every page; attributes, scripts and styles are left alone.
const PAGE = `<!doctype html><html><head><title>SelfEdge News</title><script>const SelfEdge = 1;</script></head>
<body><h1>SelfEdge is here</h1><p title="SelfEdge">Read what <em>SelfEdge</em> can do: SelfEdge, SelfEdge!</p></body></html>`;

class TextFixer {
  #wrong;
  #right;
  #text = '';

  constructor(wrong, right) {
    this.#wrong = wrong;
    this.#right = right;
  }

  // A word may be cut between two chunks: they are gathered until the text node ends.
  text(chunk) {
    this.#text += chunk.text;
    if (!chunk.lastInTextNode) return chunk.remove();
    chunk.replace(this.#text.replaceAll(this.#wrong, this.#right), { html: true });
    this.#text = '';
  }
}

export default {
  async fetch(_request, env) {
    const page = new Response(PAGE, { headers: { 'content-type': 'text/html; charset=utf-8' } });
    const rewriter = new HTMLRewriter();
    for (const selector of ['title', 'h1', 'p', 'em']) rewriter.on(selector, new TextFixer(env.WRONG, env.RIGHT));
    return rewriter.transform(page);
  },
};
