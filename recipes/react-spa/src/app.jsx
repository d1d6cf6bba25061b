import { useEffect, useState } from 'react';

/** Path of now; links change it without a request. */
function usePath() {
  const [path, setPath] = useState(location.pathname);
  useEffect(() => {
    const follow = () => setPath(location.pathname);
    addEventListener('popstate', follow);
    return () => removeEventListener('popstate', follow);
  }, []);
  const go = (event) => {
    event.preventDefault();
    history.pushState(null, '', event.currentTarget.href);
    setPath(location.pathname);
  };
  return [path, go];
}

function Book({ id }) {
  const [book, setBook] = useState(null);
  useEffect(() => {
    fetch(`/api/books/${id}`)
      .then((response) => response.json())
      .then(setBook);
  }, [id]);
  return <h1 id="title">{book ? (book.title ?? book.error) : 'Loading ...'}</h1>;
}

export function App() {
  const [path, go] = usePath();
  const id = /^\/books\/(\d+)$/.exec(path)?.[1];
  if (id) return <Book id={id} />;
  return (
    <main>
      <h1 id="title">Books</h1>
      <a href="/books/1" onClick={go}>
        The first
      </a>
    </main>
  );
}
