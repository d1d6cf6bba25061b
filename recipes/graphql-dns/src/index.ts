/** GraphQL over a DNS-over-HTTPS API: fields that ask for the same record share one query, and all queries of a request run at once. */
import DataLoader from 'dataloader';
import { buildSchema, graphql } from 'graphql';

interface Env {
  RESOLVER: string;
}
interface Answer {
  name: string;
  TTL: number;
  data: string;
}

const MAX_QUERY = 10_000;

const schema = buildSchema(`
  type Record { name: String!, ttl: Int!, data: String! }
  enum Type { A AAAA MX NS TXT CNAME }
  type Domain { name: String!, records(type: Type = A): [Record!]! }
  type Query { domain(name: String!): Domain! }
`);

/** One for each request: answers are shared within it, and nobody sees another's. */
function records(resolver: string) {
  return new DataLoader<string, Answer[]>((keys) =>
    Promise.all(
      keys.map(async (key) => {
        const [type, name] = key.split(' ') as [string, string];
        const url = `${resolver}?name=${encodeURIComponent(name)}&type=${type}`;
        const response = await fetch(url, { headers: { accept: 'application/dns-json' } });
        if (!response.ok) return new Error(`the resolver answered ${response.status} for ${name}`);
        return ((await response.json()) as { Answer?: Answer[] }).Answer ?? [];
      }),
    ),
  );
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const { query, variables } =
      request.method === 'POST'
        ? ((await request.json()) as { query?: string; variables?: Record<string, unknown> })
        : { query: new URL(request.url).searchParams.get('query') ?? '', variables: {} };
    if (!query || query.length > MAX_QUERY)
      return Response.json({ errors: [{ message: 'A query is needed.' }] }, { status: 400 });
    const loader = records(env.RESOLVER);
    const domain = ({ name }: { name: string }) => ({
      name,
      records: async ({ type }: { type: string }) =>
        (await loader.load(`${type} ${name.toLowerCase()}`)).map((answer) => ({ ...answer, ttl: answer.TTL })),
    });
    const result = await graphql({ schema, source: query, rootValue: { domain }, variableValues: variables });
    return Response.json(result, { status: result.data ? 200 : 400 });
  },
};
