/**
 * HTTP/2 requests that are malformed or ambiguous, with what a server has to do. What HTTP/1.1 cannot say must not get into the HTTP/1.1
 * that the Worker's process reads. Sources: RFC 9113 (sections are given), RFC 9110.
 */

type Field = [name: string, value: string];

export interface Http2Case {
  what: string;
  /** Header fields in their order, latin1. HOST stands for the Worker's host. */
  fields: Field[];
  /** Payloads of the DATA frames; none: the header section ends the stream. */
  body?: string[];
  trailers?: Field[];
  /**
   * `refused`: an error page, or a stream or connection error; the Worker sees no whole request. `taken`: the Worker is asked. `dropped`: it is
   * asked, and does not see the fields of `unseen`. `cut`: the connection ends; the Worker may have been asked, with no more of a body than the
   * first DATA frame, which is what was announced.
   */
  expected: 'refused' | 'taken' | 'dropped' | 'cut';
  unseen?: string[];
}

const METHOD: Field = [':method', 'GET'];
const POST: Field = [':method', 'POST'];
const SCHEME: Field = [':scheme', 'https'];
const AUTHORITY: Field = [':authority', 'HOST'];
const PATH: Field = [':path', '/'];
const GET: Field[] = [METHOD, SCHEME, AUTHORITY, PATH];
const SEND: Field[] = [POST, SCHEME, AUTHORITY, PATH];

const refused = (what: string, fields: Field[], more: Partial<Http2Case> = {}): Http2Case => ({
  what,
  fields,
  ...more,
  expected: 'refused',
});
const taken = (what: string, fields: Field[], more: Partial<Http2Case> = {}): Http2Case => ({
  what,
  fields,
  ...more,
  expected: 'taken',
});
const cut = (what: string, length: string, ...body: string[]): Http2Case => ({
  what,
  fields: [...SEND, ['content-length', length]],
  body,
  expected: 'cut',
});
const dropped = (what: string, [name, value]: Field): Http2Case => ({
  what,
  fields: [...GET, [name, value]],
  expected: 'dropped',
  unseen: [name],
});

/** RFC 9113, 8.3 and 8.3.1. */
const PSEUDO: Http2Case[] = [
  taken('all four', GET),
  taken('all four in another order', [PATH, AUTHORITY, SCHEME, METHOD]),
  refused('no method', [SCHEME, AUTHORITY, PATH]),
  refused('no scheme', [METHOD, AUTHORITY, PATH]),
  refused('no path', [METHOD, SCHEME, AUTHORITY]),
  refused('no authority and no host', [METHOD, SCHEME, PATH]),
  refused('an empty authority', [METHOD, SCHEME, [':authority', ''], PATH]),
  refused('an empty method', [[':method', ''], SCHEME, AUTHORITY, PATH]),
  refused('an empty scheme', [METHOD, [':scheme', ''], AUTHORITY, PATH]),
  refused('a scheme that is not HTTP', [METHOD, [':scheme', 'ftp'], AUTHORITY, PATH]),
  refused('a scheme that is not HTTP, and a path in its form', [
    METHOD,
    [':scheme', 'x'],
    AUTHORITY,
    [':path', 'https://HOST/'],
  ]),
  taken('the scheme of a connection in the clear', [METHOD, [':scheme', 'http'], AUTHORITY, PATH]),
  refused('two methods', [METHOD, METHOD, SCHEME, AUTHORITY, PATH]),
  refused('two schemes', [METHOD, SCHEME, SCHEME, AUTHORITY, PATH]),
  refused('two authorities', [...GET, AUTHORITY]),
  refused('two paths', [...GET, [':path', '/other']]),
  refused('a pseudo-header behind a field', [METHOD, SCHEME, AUTHORITY, ['x-a', '1'], PATH]),
  refused('an unknown pseudo-header', [...GET, [':unknown', '1']]),
  refused('a pseudo-header of answers', [...GET, [':status', '200']]),
  refused('a pseudo-header in trailers', SEND, { body: ['hello'], trailers: [[':path', '/other']] }),
  refused('a colon alone', [...GET, [':', '1']]),
];

/** RFC 9113, 8.3.1; RFC 3986. */
const TARGETS: Http2Case[] = [
  refused('an empty path', [METHOD, SCHEME, AUTHORITY, [':path', '']]),
  refused('a path without a slash', [METHOD, SCHEME, AUTHORITY, [':path', 'x']]),
  refused('a query without a path', [METHOD, SCHEME, AUTHORITY, [':path', '?x']]),
  refused('an absolute path', [METHOD, SCHEME, AUTHORITY, [':path', 'https://HOST/']]),
  refused('an absolute path of another host', [METHOD, SCHEME, AUTHORITY, [':path', 'https://other.example/']]),
  refused('a backslash for a slash', [METHOD, SCHEME, AUTHORITY, [':path', '\\x']]),
  refused('a fragment', [METHOD, SCHEME, AUTHORITY, [':path', '/#a']]),
  refused('a space in the path', [METHOD, SCHEME, AUTHORITY, [':path', '/ HTTP/1.1']]),
  refused('a tab in the path', [METHOD, SCHEME, AUTHORITY, [':path', '/\tx']]),
  refused('a NUL in the path', [METHOD, SCHEME, AUTHORITY, [':path', '/\0']]),
  refused('DEL in the path', [METHOD, SCHEME, AUTHORITY, [':path', '/\x7f']]),
  refused('another request in the path', [
    METHOD,
    SCHEME,
    AUTHORITY,
    [':path', '/ HTTP/1.1\r\nHost: HOST\r\nX-Smuggled: 1\r\n\r\n'],
  ]),
  refused('* for another method', [METHOD, SCHEME, AUTHORITY, [':path', '*']]),
  refused('an authority with a user', [METHOD, SCHEME, [':authority', 'user@HOST'], PATH]),
  refused('an authority with a path', [METHOD, SCHEME, [':authority', 'HOST/x'], PATH]),
  refused('an authority with a line end', [METHOD, SCHEME, [':authority', 'HOST\r\nX-Smuggled: 1'], PATH]),
  refused('an authority with a port too high', [METHOD, SCHEME, [':authority', 'HOST:99999'], PATH]),
  taken('an authority with a port', [METHOD, SCHEME, [':authority', 'HOST:8080'], PATH]),
  refused('a host that is not the authority', [...GET, ['host', 'other.example']]),
  refused('a host that is not the authority, before it is named', [
    METHOD,
    SCHEME,
    PATH,
    ['host', 'HOST'],
    [':authority', 'other.example'],
  ]),
  refused('two hosts', [METHOD, SCHEME, PATH, ['host', 'HOST'], ['host', 'HOST']]),
  refused('an empty host', [...GET, ['host', '']]),
  taken('the authority as host too', [...GET, ['host', 'HOST']]),
  taken('a host in the place of the authority', [METHOD, SCHEME, PATH, ['host', 'HOST']]),
];

/** RFC 9110, 9. */
const METHODS: Http2Case[] = [
  refused('CONNECT', [[':method', 'CONNECT'], AUTHORITY]),
  refused('CONNECT with scheme and path', [[':method', 'CONNECT'], SCHEME, AUTHORITY, PATH]),
  refused('CONNECT without an authority', [[':method', 'CONNECT']]),
  refused('extended CONNECT (RFC 8441)', [[':method', 'CONNECT'], [':protocol', 'websocket'], SCHEME, AUTHORITY, PATH]),
  refused(':protocol of another method', [...GET, [':protocol', 'websocket']]),
  refused('TRACE', [[':method', 'TRACE'], SCHEME, AUTHORITY, PATH]),
  refused('an unknown method', [[':method', 'BREW'], SCHEME, AUTHORITY, PATH]),
  refused('a method in lower case', [[':method', 'get'], SCHEME, AUTHORITY, PATH]),
  refused('a method with a space', [[':method', 'GET / HTTP/1.1'], SCHEME, AUTHORITY, PATH]),
  refused('another request in the method', [
    [':method', 'GET / HTTP/1.1\r\nHost: HOST\r\n\r\nGET'],
    SCHEME,
    AUTHORITY,
    PATH,
  ]),
];

/** RFC 9113, 8.2.2: fields of the connection. */
const CONNECTION: Http2Case[] = [
  refused('connection', [...GET, ['connection', 'close']]),
  refused('keep-alive', [...GET, ['keep-alive', 'timeout=5']]),
  refused('proxy-connection', [...GET, ['proxy-connection', 'keep-alive']]),
  refused('transfer-encoding', [...SEND, ['transfer-encoding', 'chunked']], { body: ['0\r\n\r\n'] }),
  refused('upgrade', [...GET, ['upgrade', 'websocket']]),
  refused('te other than trailers', [...GET, ['te', 'gzip']]),
  refused('te with more than trailers', [...GET, ['te', 'trailers, gzip']]),
  { ...taken('te: trailers', [...GET, ['te', 'trailers']]), unseen: ['te'] },
];

/** RFC 9113, 8.2.1: names and values. */
const FIELDS: Http2Case[] = [
  refused('a name in upper case', [...GET, ['X-Bad', '1']]),
  dropped('a name that is empty', ['', '1']),
  dropped('a name with a space', ['x bad', '1']),
  dropped('a name with a colon in it', ['x:bad', '1']),
  dropped('a name with a line end', ['x\r\nx-bad', '1']),
  dropped('a name with a NUL', ['x\0bad', '1']),
  dropped('a name that is not ASCII', ['x-b\xe4d', '1']),
  dropped('a NUL in a value', ['x-bad', 'a\0b']),
  dropped('a CR in a value', ['x-bad', 'a\rb']),
  dropped('a LF in a value', ['x-bad', 'a\nb']),
  dropped('another field in a value', ['x-bad', 'a\r\nx-smuggled: 1']),
  dropped('another request in a value', ['x-bad', 'a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: HOST\r\n\r\n']),
  dropped('DEL in a value', ['x-bad', 'a\x7fb']),
  dropped('white space before a value', ['x-bad', ' a']),
  dropped('white space behind a value', ['x-bad', 'a\t']),
  taken('a value in latin1', [...GET, ['x-good', '\xe4\xf6']]),
  taken('an empty value', [...GET, ['x-good', '']]),
  taken('a tab in a value', [...GET, ['x-good', 'a\tb']]),
  refused('too many fields', [...GET, ...Array.from({ length: 300 }, (_, i): Field => [`x-${i}`, '1'])]),
  refused('a header section that is too long', [...GET, ['x-bad', 'a'.repeat(70_000)]]),
];

/** RFC 9113, 8.1.1: the length of the body is the sum of its DATA frames. */
const LENGTHS: Http2Case[] = [
  taken('a body without a length', SEND, { body: ['hel', 'lo'] }),
  taken('a body and its length', [...SEND, ['content-length', '5']], { body: ['hel', 'lo'] }),
  taken('a length of nothing', [...SEND, ['content-length', '0']]),
  taken('a length of nothing, and an empty DATA frame', [...SEND, ['content-length', '0']], { body: [''] }),
  taken('trailers', SEND, { body: ['hello'], trailers: [['x-trailer', '1']] }),
  cut('more than the length', '5', 'hello', '!'),
  cut('a body and a length of nothing', '0', '', 'hello'),
  cut('another request behind a length of nothing', '0', '', 'GET /smuggled HTTP/1.1\r\nHost: HOST\r\n\r\n'),
  cut('another request behind the length', '5', 'hello', 'GET /smuggled HTTP/1.1\r\nHost: HOST\r\n\r\n'),
  refused('less than the length', [...SEND, ['content-length', '6']], { body: ['hello'] }),
  refused('a length and no body', [...SEND, ['content-length', '5']]),
  refused('less than the length, then trailers', [...SEND, ['content-length', '6']], {
    body: ['hello'],
    trailers: [['x-trailer', '1']],
  }),
  refused('two lengths', [...SEND, ['content-length', '5'], ['content-length', '5']], { body: ['hello'] }),
  refused('two different lengths', [...SEND, ['content-length', '5'], ['content-length', '6']], { body: ['hello'] }),
  refused('a list of lengths', [...SEND, ['content-length', '5, 5']], { body: ['hello'] }),
  refused('a length with a plus', [...SEND, ['content-length', '+5']], { body: ['hello'] }),
  refused('a negative length', [...SEND, ['content-length', '-5']], { body: ['hello'] }),
  refused('a length in hex', [...SEND, ['content-length', '0x5']], { body: ['hello'] }),
  refused('an empty length', [...SEND, ['content-length', '']], { body: ['hello'] }),
  refused('a length that no number holds', [...SEND, ['content-length', '9'.repeat(30)]], { body: ['hello'] }),
];

export const HTTP2_CORPUS: Http2Case[] = [...PSEUDO, ...TARGETS, ...METHODS, ...CONNECTION, ...FIELDS, ...LENGTHS];
