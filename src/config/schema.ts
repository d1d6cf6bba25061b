/**
 * The configuration file `selvedge.jsonc`: every name with its meaning, its default and its bounds. `selvedge.schema.json` is made of this
 * file for editors (`selvedge config schema`).
 */
import { availableParallelism, totalmem } from 'node:os';
import { z } from 'zod';
import { createAddresses } from '../data/addresses.ts';
import { DEFAULT_PLAN } from '../model/limits.ts';
import { parseListen } from './listen.ts';
import { Prices } from './prices.ts';
import { Rollout } from './rollout.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** One Node process each: more than this is a slip of the finger. */
const MAX_PROCESSES = 256;

const count = (min: number, max: number, value: number, text: string) =>
  z.int().min(min).max(max).default(value).describe(`${text} Default ${value}.`);
/** Times in ms: a wrong unit would be far outside the bounds. */
const ms = (min: number, max: number, value: number, text: string) => count(min, max, value, `${text} In ms.`);
const bytes = (min: number, max: number, value: number, text: string) => count(min, max, value, `${text} In bytes.`);

/** A check whose Error becomes the message of the configuration's error. */
function checked(check: (text: string) => unknown) {
  return (text: string, context: z.RefinementCtx) => {
    try {
      check(text);
    } catch (error) {
      context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : String(error) });
    }
  };
}

export const Cidr = z
  .string()
  .max(64)
  .superRefine(checked((text) => createAddresses([text])))
  .describe('An address range such as 10.0.0.0/8 or fd00::/8.');

const ListenText = z.string().max(200).superRefine(checked(parseListen));
const Listen = z
  .union([
    ListenText,
    z.strictObject({
      address: ListenText,
      proxy_protocol: z
        .boolean()
        .default(false)
        .describe('Each connection has to begin with a PROXY protocol header, version 1 or 2.'),
    }),
  ])
  .describe('"127.0.0.1:8080", "[::1]:8080", ":8080" (all addresses, IPv4 and IPv6), "unix:/path" or "systemd:name".');

const TcpListen = z.string().superRefine(
  checked((text) => {
    if (parseListen(text).kind !== 'tcp') throw new Error('an address and a port are needed, such as 127.0.0.1:4400');
  }),
);

const TlsMinimum = z.enum(['1.0', '1.1', '1.2', '1.3']).describe('The oldest version of TLS that is taken.');
const Share = z.number().min(0).max(1);
const AbsolutePath = z.string().startsWith('/', 'an absolute path is needed').max(4096);

const Limits = z.strictObject({
  header_bytes: bytes(4 * KiB, MiB, 64 * KiB, 'Header section of a request; above it 431.'),
  header_count: count(10, 2000, 200, 'Header fields of a request; above it 431.'),
  connections: count(1, 1_000_000, 20_000, 'Connections of clients in all; what is above is closed at once.'),
  connections_per_address: count(1, 1_000_000, 1000, 'Connections of one client address (IPv6: one /64).'),
  requests_per_connection: count(1, 1_000_000_000, 10_000, 'Requests after which a connection is closed in order.'),
  handshake_timeout_ms: ms(100, 10 * MINUTE, 10 * SECOND, 'Time for a TLS handshake, and for a PROXY protocol header.'),
  headers_timeout_ms: ms(100, 10 * MINUTE, 20 * SECOND, 'Time for the header section of a request.'),
  idle_timeout_ms: ms(100, DAY, 65 * SECOND, 'Time that a connection may wait for its next request.'),
  request_timeout_ms: ms(0, DAY, HOUR, 'Time for a whole request, its body included; 0 for no bound.'),
  stall_timeout_ms: ms(100, DAY, 30 * SECOND, 'Time that a body, either way, may make no progress.'),
  min_rate_bytes: bytes(0, MiB, 256, 'Bytes a second that a body has to make on the average, either way; 0 for none.'),
  http2_streams: count(1, 1000, 128, 'Concurrent streams of an HTTP/2 connection.'),
  http2_resets_per_minute: count(1, 1_000_000, 300, 'Streams that an HTTP/2 client may reset; above it GOAWAY.'),
  http2_control_frames_per_minute: count(10, 1_000_000, 1000, 'SETTINGS, PING and PRIORITY frames of a client.'),
  websocket_message_bytes: bytes(
    KiB,
    1024 * MiB,
    32 * MiB,
    'A WebSocket message as it is sent (compressed, if it is); above it the close code is 1009.',
  ),
  websocket_idle_ms: ms(SECOND, DAY, 10 * MINUTE, 'Time that a WebSocket may be silent, pongs included.'),
  websocket_ping_ms: ms(SECOND, DAY, 2 * MINUTE, 'Silence after which the edge pings a client.'),
  certificates_per_minute: count(1, 100_000, 60, 'Certificates made on demand for new names.'),
});

const range = (value: { default: number; max: number }, text: string) =>
  z
    .strictObject({
      default: z.int().min(1).default(value.default).describe('What a version gets that asks for nothing.'),
      max: z.int().min(1).default(value.max).describe('What a version may ask for.'),
    })
    .refine(({ default: usual, max }) => usual <= max, 'the default is above the maximum')
    .prefault({})
    .describe(text);

export const ConfigSchema = z
  .strictObject({
    $schema: z.string().optional().describe('For editors: "./selvedge.schema.json".'),
    data: z.string().min(1).default('.selvedge').describe('Data directory; relative to this file.'),
    colo: z
      .string()
      .regex(/^[a-zA-Z][a-zA-Z0-9]{2,15}$/, 'a code has 3 to 16 letters and digits')
      .toLowerCase()
      .default('dev')
      .describe('Code of this point of presence; stands in CF-Ray.'),
    workers_domain: z
      .string()
      .toLowerCase()
      .regex(
        /^(?=.{1,120}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/,
        'a domain name is needed, such as workers.example.com',
      )
      .default('workers.localhost')
      .describe('Workers are at <worker>.<subdomain>.<this>.'),
    listen: z
      .strictObject({
        http: z.array(Listen).max(32).default(['127.0.0.1:8080']),
        https: z.array(Listen).max(32).default(['127.0.0.1:8443']),
        api: TcpListen.default('127.0.0.1:4400').describe(
          'Control API, /metrics and health. Keep it inside: it is plain HTTP.',
        ),
        s3: TcpListen.default('127.0.0.1:4401').describe(
          'The S3 API of R2, in plain HTTP: for this machine and its network. With TLS it is at s3.<workers_domain> of the edge.',
        ),
        trusted_proxies: z
          .array(Cidr)
          .max(1000)
          .default([])
          .describe('Load balancers whose Forwarded and X-Forwarded-For are believed.'),
      })
      .prefault({})
      .describe('Sockets.'),
    limits: Limits.prefault({}).describe('What one client may take. Safe for a public address as they are.'),
    tls: z
      .strictObject({
        min_version: TlsMinimum.default('1.2'),
        hosts: z
          .record(z.string().max(253), z.strictObject({ min_version: TlsMinimum }))
          .default({})
          .describe('Exceptions by host name; "*.example.com" for all names one label below.'),
        certificates: z
          .array(z.strictObject({ cert: AbsolutePath, key: AbsolutePath }))
          .max(10_000)
          .default([])
          .describe('PEM files. Other hosts get a certificate of the local authority.'),
      })
      .prefault({}),
    plan: z
      .strictObject({
        cpu_ms: range(DEFAULT_PLAN.cpuMs, 'CPU time of one turn of the event loop.'),
        memory_mb: range(DEFAULT_PLAN.memoryMb, 'Memory of one process.'),
        subrequests: range(DEFAULT_PLAN.subrequests, 'Subrequests of one request.'),
        body_bytes: bytes(0, 2 ** 50, DEFAULT_PLAN.bodyBytes, "A request's body; above it 413."),
      })
      .prefault({})
      .describe('What accounts get.'),
    egress: z
      .strictObject({
        allow: z.array(Cidr).max(1000).default([]).describe('Private networks that all Workers may fetch.'),
        accounts: z
          .record(
            z.string().regex(/^[0-9a-f]{32}$/, 'an account id has 32 hex digits'),
            z.strictObject({ allow: z.array(Cidr).max(1000) }),
          )
          .default({})
          .describe("Private networks that one account's Workers may fetch, by account id."),
      })
      .prefault({})
      .describe('What fetch() and connect() may reach: public addresses, and what is allowed here.'),
    workers: z
      .strictObject({
        edges: z
          .int()
          .min(1)
          .max(MAX_PROCESSES)
          .default(availableParallelism())
          .describe('Edge processes; cores by default.'),
        max_instances: z
          .int()
          .min(1)
          .max(MAX_PROCESSES)
          .default(availableParallelism())
          .describe('Processes of one Worker version under load; cores by default.'),
        memory_mb: z
          .int()
          .min(64)
          .default(Math.max(64, Math.floor(totalmem() / 2 / MiB)))
          .describe('Memory for all Workers together; half of the machine by default.'),
        zygotes: count(0, MAX_PROCESSES, 2, 'Runtimes kept started.'),
        sandbox: z
          .enum(['auto', 'bubblewrap', 'namespaces', 'plain'])
          .default('auto')
          .describe('Sandbox of Workers; refuses to start with less.'),
      })
      .prefault({}),
    logs: z
      .strictObject({
        requests: z
          .union([
            z.literal(false),
            z.strictObject({
              dir: z.string().min(1).optional().describe('Directory; "logs" in the data directory by default.'),
              max_bytes: bytes(64 * KiB, 2 ** 40, 64 * MiB, 'Size at which a file is rotated.'),
              files: count(1, 1000, 5, 'Rotated files kept.'),
              sample: z
                .record(z.string().max(253), Share)
                .default({ '*': 1 })
                .describe('Host name, "*" for all others -> share of its requests that are written.'),
            }),
          ])
          .prefault({})
          .describe('One record per request, JSON lines; false for none.'),
      })
      .prefault({}),
    metrics: z
      .strictObject({ token: z.string().min(16).max(256).optional().describe('Bearer token that reads /metrics.') })
      .prefault({})
      .describe('Without a token /metrics answers on loopback only.'),
    cache: z
      .strictObject({
        disk_bytes: bytes(16 * MiB, 2 ** 50, 4 * 1024 * MiB, 'Responses that Workers put into the Cache API, on disk.'),
        memory_bytes: bytes(0, 2 ** 40, 64 * MiB, 'Of these the small ones that were used last, in memory too.'),
      })
      .prefault({})
      .describe('The Cache API of this point of presence; what was used longest ago goes first.'),
    traces: z
      .strictObject({
        endpoint: z
          .url({ protocol: /^https?$/, error: 'a URL is needed, such as http://127.0.0.1:4318/v1/traces' })
          .describe('Where OTLP over HTTP goes, the whole URL.'),
        headers: z
          .record(
            z.string().regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$/, 'this is no name of a header'),
            z.string().max(4096),
          )
          .default({})
          .describe('Sent with each export, for authorisation.'),
        sample: Share.default(1).describe('Share of the traces begun here that are recorded. Default 1.'),
      })
      .optional()
      .describe('OpenTelemetry traces of requests and subrequests; none without it.'),
    prices: Prices.optional(),
    rollout: Rollout,
  })
  .describe('Selvedge, one machine');

export type Config = z.output<typeof ConfigSchema>;
export type ConfigInput = z.input<typeof ConfigSchema>;

/** The JSON schema for editors. Defaults that depend on the machine are left out. */
export function jsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(ConfigSchema, { io: 'input' }) as Record<string, any>;
  for (const name of ['edges', 'max_instances', 'memory_mb']) delete schema.properties.workers.properties[name].default;
  return schema;
}
