/** A shop's products and orders, in one database. */
interface Statement {
  bind(...values: unknown[]): Statement;
  first<T>(): Promise<T | null>;
  all<T>(): Promise<{ results: T[] }>;
}
interface Database {
  prepare(sql: string): Statement;
  batch<T>(statements: Statement[]): Promise<{ results: T[] }[]>;
}
interface Env {
  SHOP: Database;
  TOKEN?: string;
}
interface Product {
  id: number;
  name: string;
  cents: number;
  stock: number;
}

const PAGE = 20;
/** What SQLite says of the rules in the migrations -> what the client is told. */
const RULES: [RegExp, number, string][] = [
  [/CHECK constraint failed: stock/, 409, 'there is not enough of it'],
  [/UNIQUE constraint failed: products.name/, 409, 'there is a product of this name'],
  [/FOREIGN KEY constraint failed/, 404, 'there is no such product'],
  [
    /(CHECK|NOT NULL) constraint failed|datatype mismatch/,
    400,
    'a product has a name, cents and a stock; an order a quantity',
  ],
];

/** Products by id, the next page after the last id of the one before. `q`: in the name, wherever. */
async function list(shop: Database, query: URLSearchParams): Promise<Response> {
  const after = Number(query.get('after') ?? 0);
  // instr() takes the text as it is, where LIKE would know % and _.
  const { results } = await shop
    .prepare('SELECT * FROM products WHERE id > ?1 AND instr(lower(name), lower(?2)) ORDER BY id LIMIT ?3')
    .bind(after, query.get('q') ?? '', PAGE + 1)
    .all<Product>();
  const products = results.slice(0, PAGE);
  const next = results.length > PAGE ? products.at(-1)!.id : null;
  return Response.json({ products, next });
}

async function order(shop: Database, product: number, quantity: number): Promise<Response> {
  // Both or neither: a batch is one transaction.
  const [{ results: orders }, { results: left }] = (await shop.batch<{ id: number; stock: number }>([
    shop.prepare('INSERT INTO orders (product, quantity) VALUES (?, ?) RETURNING id').bind(product, quantity),
    shop.prepare('UPDATE products SET stock = stock - ?2 WHERE id = ?1 RETURNING stock').bind(product, quantity),
  ])) as [{ results: { id: number }[] }, { results: { stock: number }[] }];
  return Response.json({ order: orders[0]!.id, left: left[0]!.stock }, { status: 201 });
}

async function handle(request: Request, { SHOP: shop, TOKEN: token }: Env): Promise<Response> {
  const { pathname, searchParams } = new URL(request.url);
  const [, kind, id, more] = pathname.split('/');
  if (kind !== 'products' || (id !== undefined && !/^\d{1,15}$/.test(id))) return refusal(404, 'not here');
  if (request.method === 'GET' && id === undefined) return list(shop, searchParams);
  if (request.method === 'GET' && more === undefined) {
    const product = await shop.prepare('SELECT * FROM products WHERE id = ?').bind(Number(id)).first<Product>();
    return product ? Response.json(product) : refusal(404, 'there is no such product');
  }
  if (request.method === 'POST' && more === 'orders') {
    const { quantity } = await body<{ quantity: number }>(request);
    return order(shop, Number(id), Number.isInteger(quantity) ? quantity : 0);
  }
  if (!token || request.headers.get('authorization') !== `Bearer ${token}`) return refusal(401, 'a token is missing');
  const { name = null, cents = null, stock = null } = await body<Partial<Product>>(request);
  const set = 'name = coalesce(?2, name), cents = coalesce(?3, cents), stock = coalesce(?4, stock)';
  const statement =
    request.method === 'POST' && id === undefined
      ? shop.prepare('INSERT INTO products (name, cents, stock) VALUES (?, ?, ?) RETURNING *').bind(name, cents, stock)
      : request.method === 'PUT' && id !== undefined && more === undefined
        ? shop.prepare(`UPDATE products SET ${set} WHERE id = ?1 RETURNING *`).bind(Number(id), name, cents, stock)
        : null;
  if (!statement) return refusal(405, 'that cannot be done here');
  const product = await statement.first<Product>();
  return product
    ? Response.json(product, { status: id === undefined ? 201 : 200 })
    : refusal(404, 'there is no such product');
}

async function body<T extends object>(request: Request): Promise<T> {
  const value = await request.json().catch(() => null);
  return (value !== null && typeof value === 'object' ? value : {}) as T;
}

function refusal(status: number, error: string): Response {
  return Response.json({ error }, { status });
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    try {
      return await handle(request, env);
    } catch (error) {
      const rule = RULES.find(([pattern]) => pattern.test((error as Error).message));
      if (!rule) throw error;
      return refusal(rule[1], rule[2]);
    }
  },
};
