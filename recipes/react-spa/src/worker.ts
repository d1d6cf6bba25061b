/** The API of the application; all else is answered from the files that Vite built. */
const BOOKS: Record<string, { title: string }> = { '1': { title: 'Flatland' }, '2': { title: 'Erewhon' } };

export default {
  fetch(request: Request): Response {
    const id = /^\/api\/books\/(\d+)$/.exec(new URL(request.url).pathname)?.[1];
    const book = id ? BOOKS[id] : undefined;
    return book ? Response.json(book) : Response.json({ error: 'There is no such book.' }, { status: 404 });
  },
};
