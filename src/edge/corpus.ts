/**
 * Requests that are malformed or ambiguous, with what a server has to do. Two servers that read one of them differently can be played against
 * each other (request smuggling). Sources: RFC 9112 (sections are given), RFC 9110, and what parsers are known to have got wrong.
 */

export interface Case {
  what: string;
  /** The bytes of one request, or of one that is cut short; latin1. HOST stands for the Worker's host. */
  bytes: string;
  /** `refused`: an error status or nothing, then the end of the connection; the Worker sees nothing. A number: how often the Worker is asked. */
  expected: 'refused' | number;
}

const get = (headers: string, line = 'GET / HTTP/1.1') => `${line}\r\nHost: HOST\r\n${headers}\r\n`;
const post = (headers: string, body: string) => `POST /echo HTTP/1.1\r\nHost: HOST\r\n${headers}\r\n${body}`;
const refused = (what: string, bytes: string): Case => ({ what, bytes, expected: 'refused' });
const taken = (what: string, bytes: string, times = 1): Case => ({ what, bytes, expected: times });

const CHUNKED = 'Transfer-Encoding: chunked\r\n';

/** RFC 9112, 6.3 and 11.2: how long the body is. */
const LENGTHS: Case[] = [
  refused('both lengths', post(`Content-Length: 5\r\n${CHUNKED}`, '0\r\n\r\n')),
  refused('both lengths, the other way round', post(`${CHUNKED}Content-Length: 5\r\n`, '0\r\n\r\n')),
  refused('two different lengths', post('Content-Length: 5\r\nContent-Length: 6\r\n', 'hello!')),
  refused('two equal lengths', post('Content-Length: 5\r\nContent-Length: 5\r\n', 'hello')),
  refused('a list of lengths', post('Content-Length: 5, 5\r\n', 'hello')),
  refused('a length with a plus', post('Content-Length: +5\r\n', 'hello')),
  refused('a negative length', post('Content-Length: -5\r\n', 'hello')),
  refused('a length in hex', post('Content-Length: 0x5\r\n', 'hello')),
  refused('an empty length', post('Content-Length: \r\n', 'hello')),
  refused('a length with a space in it', post('Content-Length: 1 5\r\n', 'hello')),
  refused('a length that no number holds', post('Content-Length: 99999999999999999999999\r\n', 'hello')),
  refused('a length with a fraction', post('Content-Length: 5.0\r\n', 'hello')),
  refused('a length with an underscore in its name', post('Content_Length: 5\r\nContent-Length: 5, 6\r\n', 'hello')),
  taken('a length with zeros before it', post('Content-Length: 005\r\n', 'hello')),
  taken('a GET with a body', `${get('Content-Length: 5\r\n')}hello`),
  taken('a length of nothing', post('Content-Length: 0\r\n', '')),
];

/** RFC 9112, 6.1 and 7.1: chunks. */
const CHUNKS: Case[] = [
  taken('chunks', post(CHUNKED, '5\r\nhello\r\n0\r\n\r\n')),
  taken('chunks with zeros before the size', post(CHUNKED, '0005\r\nhello\r\n000\r\n\r\n')),
  taken('a chunk extension', post(CHUNKED, '5;name=value\r\nhello\r\n0\r\n\r\n')),
  taken('trailers', post(CHUNKED, '5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n')),
  refused('an unknown coding', post('Transfer-Encoding: cow\r\n', '5\r\nhello\r\n0\r\n\r\n')),
  refused('chunked that is not last', post('Transfer-Encoding: chunked, gzip\r\n', '0\r\n\r\n')),
  refused('chunked twice', post('Transfer-Encoding: chunked, chunked\r\n', '0\r\n\r\n')),
  refused('chunked in two fields', post(`${CHUNKED}${CHUNKED}`, '0\r\n\r\n')),
  refused('a coding before chunked', post('Transfer-Encoding: gzip, chunked\r\n', '0\r\n\r\n')),
  refused('identity', post('Transfer-Encoding: identity\r\n', 'hello')),
  refused('chunked with a parameter', post('Transfer-Encoding: chunked;q=1\r\n', '0\r\n\r\n')),
  refused('chunked in quotes', post('Transfer-Encoding: "chunked"\r\n', '0\r\n\r\n')),
  refused('an empty coding', post('Transfer-Encoding: \r\n', '0\r\n\r\n')),
  refused('a vertical tab before chunked', post('Transfer-Encoding: \x0bchunked\r\n', '0\r\n\r\n')),
  refused('a NUL behind chunked', post('Transfer-Encoding: chunked\0\r\n', '0\r\n\r\n')),
  refused('chunked in HTTP/1.0', `POST /echo HTTP/1.0\r\nHost: HOST\r\n${CHUNKED}\r\n0\r\n\r\n`),
];
/** Chunks that break off a request whose head was in order: the Worker may see that it came, but no body that was not sent so. */
export const BROKEN_CHUNKS: { what: string; bytes: string }[] = [
  { what: 'a size that is no hex', bytes: post(CHUNKED, 'xyz\r\nhello\r\n0\r\n\r\n') },
  { what: 'a size with 0x', bytes: post(CHUNKED, '0x5\r\nhello\r\n0\r\n\r\n') },
  { what: 'a negative size', bytes: post(CHUNKED, '-5\r\nhello\r\n0\r\n\r\n') },
  { what: 'an empty size', bytes: post(CHUNKED, '\r\nhello\r\n0\r\n\r\n') },
  { what: 'a space before the size', bytes: post(CHUNKED, ' 5\r\nhello\r\n0\r\n\r\n') },
  { what: 'a size that no number holds', bytes: post(CHUNKED, 'fffffffffffffffff\r\nhello\r\n0\r\n\r\n') },
  { what: 'more data than the size', bytes: post(CHUNKED, '5\r\nhello!\r\n0\r\n\r\n') },
  { what: 'a bare LF behind the size', bytes: post(CHUNKED, '5\nhello\r\n0\r\n\r\n') },
  { what: 'a bare LF behind the data', bytes: post(CHUNKED, '5\r\nhello\n0\r\n\r\n') },
  { what: 'a bare CR behind the size', bytes: post(CHUNKED, '5\rhello\r\n0\r\n\r\n') },
  { what: 'a line feed in an extension', bytes: post(CHUNKED, '5;a\nb\r\nhello\r\n0\r\n\r\n') },
  { what: 'a trailer without a colon', bytes: post(CHUNKED, '5\r\nhello\r\n0\r\nX\r\n\r\n') },
];

/** RFC 9112, 2.2 and 5: lines and fields. */
const FIELDS: Case[] = [
  refused('bare LF behind the request line', 'GET / HTTP/1.1\nHost: HOST\r\n\r\n'),
  refused('bare LF behind a field', 'GET / HTTP/1.1\r\nHost: HOST\nX: 1\r\n\r\n'),
  refused('bare LF at the end', 'GET / HTTP/1.1\r\nHost: HOST\r\n\n'),
  refused('bare CR in a value', get('X: a\rb\r\n')),
  refused('bare CR behind a field', 'GET / HTTP/1.1\r\nHost: HOST\rX: 1\r\n\r\n'),
  refused('a folded line', get('X: a\r\n b\r\n')),
  refused('a folded line with a tab', get('X: a\r\n\tb\r\n')),
  refused('a folded Transfer-Encoding', post('Transfer-Encoding:\r\n chunked\r\n', '0\r\n\r\n')),
  refused('white space before the first field', 'GET / HTTP/1.1\r\n Host: HOST\r\n\r\n'),
  refused('a space before a colon', get('X : a\r\n')),
  refused('a space before the colon of a length', post('Content-Length : 5\r\n', 'hello')),
  refused('a tab before a colon', get('X\t: a\r\n')),
  refused('a name that is empty', get(': a\r\n')),
  refused('a line without a colon', get('nonsense\r\n')),
  refused('a NUL in a value', get('X: a\0b\r\n')),
  refused('a NUL in a name', get('X\0: a\r\n')),
  refused('a control character in a value', get('X: a\x01b\r\n')),
  refused('DEL in a value', get('X: a\x7fb\r\n')),
  refused('parentheses in a name', get('X(1): a\r\n')),
  refused('a name that is not ASCII', get('X\xe4: a\r\n')),
  taken('a value in latin1', get('X: \xe4\xf6\r\n')),
  taken('an empty value', get('X:\r\n')),
  taken('tabs around a value', get('X:\t a \t\r\n')),
  taken('empty lines before the request', `\r\n\r\n${get('')}`),
];

/** RFC 9112, 3: the request line and the host. */
const TARGETS: Case[] = [
  refused('no host', 'GET / HTTP/1.1\r\n\r\n'),
  refused('two hosts', get('Host: other.example\r\n')),
  refused('the same host twice', get('Host: HOST\r\n')),
  refused('an empty host', 'GET / HTTP/1.1\r\nHost:\r\n\r\n'),
  refused('a host with a path', 'GET / HTTP/1.1\r\nHost: HOST/x\r\n\r\n'),
  refused('a host with a user', 'GET / HTTP/1.1\r\nHost: user@HOST\r\n\r\n'),
  refused('a host with a space', 'GET / HTTP/1.1\r\nHost: HOST other\r\n\r\n'),
  refused('a list of hosts', 'GET / HTTP/1.1\r\nHost: HOST, other.example\r\n\r\n'),
  refused('a host with a port that is none', 'GET / HTTP/1.1\r\nHost: HOST:http\r\n\r\n'),
  refused('a host with a port too high', 'GET / HTTP/1.1\r\nHost: HOST:99999\r\n\r\n'),
  taken('a host with a port', 'GET / HTTP/1.1\r\nHost: HOST:8080\r\n\r\n'),
  taken('a host with a dot behind it', 'GET / HTTP/1.1\r\nHost: HOST.\r\n\r\n'),
  taken('an absolute target', 'GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\n\r\n'),
  refused('an absolute target of another host', 'GET http://HOST/ HTTP/1.1\r\nHost: other.example\r\n\r\n'),
  refused('an absolute target with a user', 'GET http://user@HOST/ HTTP/1.1\r\nHost: HOST\r\n\r\n'),
  refused('an absolute target of another scheme', 'GET ftp://HOST/ HTTP/1.1\r\nHost: HOST\r\n\r\n'),
  refused('a target without a slash', get('', 'GET x HTTP/1.1')),
  refused('a backslash for a slash', get('', 'GET \\x HTTP/1.1')),
  refused('a fragment', get('', 'GET /#a HTTP/1.1')),
  refused('a space in the target', get('', 'GET /a b HTTP/1.1')),
  refused('a NUL in the target', get('', 'GET /a\0b HTTP/1.1')),
  refused('a control character in the target', get('', 'GET /a\x01b HTTP/1.1')),
  refused('no target', get('', 'GET HTTP/1.1')),
  refused('a tab in the request line', get('', 'GET\t/ HTTP/1.1')),
  refused('* for another method', get('', 'GET * HTTP/1.1')),
  refused('CONNECT', 'CONNECT HOST:443 HTTP/1.1\r\nHost: HOST:443\r\n\r\n'),
  refused('TRACE', get('', 'TRACE / HTTP/1.1')),
  refused('an unknown method', get('', 'BREW / HTTP/1.1')),
  refused('a method in lower case', get('', 'get / HTTP/1.1')),
  refused('a method with a parenthesis', get('', 'G(ET / HTTP/1.1')),
  refused('HTTP/0.9', 'GET /\r\n\r\n'),
  refused('HTTP/2.0', get('', 'GET / HTTP/2.0')),
  refused('HTTP/1.2', get('', 'GET / HTTP/1.2')),
  refused('HTTP/01.1', get('', 'GET / HTTP/01.1')),
  refused('http in lower case', get('', 'GET / http/1.1')),
  refused('no protocol at all', 'hello\r\n\r\n'),
  refused('a ClientHello in the clear', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'),
  refused('a header section that is too long', get(`X: ${'a'.repeat(70_000)}\r\n`)),
  refused('a target that is too long', get('', `GET /${'a'.repeat(70_000)} HTTP/1.1`)),
  refused('too many fields', get('X: 1\r\n'.repeat(300))),
];

export const CORPUS: Case[] = [...LENGTHS, ...CHUNKS, ...FIELDS, ...TARGETS];
