/** The API of a static site: the site is files, and only what is below /api/ comes here. */
const MAX_NAME = 100;

export default {
  fetch(request: Request): Response {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname !== '/api/greeting') return Response.json({ error: 'There is no such call.' }, { status: 404 });
    const name = searchParams.get('name') ?? '';
    if (name === '' || name.length > MAX_NAME)
      return Response.json({ error: `A name of 1 to ${MAX_NAME} characters is needed.` }, { status: 400 });
    return Response.json({ greeting: `Hello, ${name}!` });
  },
};
