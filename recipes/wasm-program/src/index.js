// The program is compiled once, at deploy; each isolate makes one instance of it.
import program from './primes.wasm';

const { exports } = new WebAssembly.Instance(program);

export default {
  fetch(request) {
    const below = Number(new URL(request.url).searchParams.get('below') ?? 100);
    if (!Number.isInteger(below) || below < 0 || below > 1_000_000) {
      return new Response('?below= is a whole number up to 1000000\n', { status: 400 });
    }
    return Response.json({ below, primes: exports.count_primes(below) });
  },
};
