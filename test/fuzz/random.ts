/** Random numbers that come again with the same seed (mulberry32), and mutations of bytes. */
export interface Random {
  below(n: number): number;
  pick<T>(list: readonly T[]): T;
}

export function seeded(seed: number): Random {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (n: number) => Math.floor(next() * n);
  return { below, pick: (list) => list[below(list.length)]! };
}

/** Bytes that mean something to parsers of HTTP. */
const SPICE = [
  '\r\n',
  '\n',
  '\r',
  '\0',
  ' ',
  '\t',
  ':',
  ',',
  ';',
  '0\r\n\r\n',
  'chunked',
  'Content-Length: 3\r\n',
  'Transfer-Encoding: chunked\r\n',
  '\x80',
  '\xff',
  '%00',
  '../',
  '#',
  '@',
  'HTTP/1.1',
];

/** A few changes at random places. */
export function mutate(text: string, random: Random): string {
  let mutated = text;
  for (let i = random.below(4) + 1; i > 0; i--) {
    const at = random.below(mutated.length + 1);
    const length = random.below(8);
    switch (random.below(5)) {
      case 0:
        mutated = mutated.slice(0, at) + random.pick(SPICE) + mutated.slice(at);
        break;
      case 1:
        mutated = mutated.slice(0, at) + mutated.slice(at + length);
        break;
      case 2:
        mutated = mutated.slice(0, at) + String.fromCharCode(random.below(256)) + mutated.slice(at + 1);
        break;
      case 3:
        mutated =
          mutated.slice(0, at) + mutated.slice(at, at + length).repeat(1 + random.below(50)) + mutated.slice(at);
        break;
      default:
        mutated = mutated.slice(0, at);
    }
  }
  return mutated;
}
