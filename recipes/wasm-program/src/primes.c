/* Counts the primes below n with a sieve in linear memory.
 * clang --target=wasm32 -O2 -fno-builtin -nostdlib -Wl,--no-entry -Wl,--export=count_primes -o primes.wasm primes.c */
#define MAX 1000000
static unsigned char composite[MAX + 1];

int count_primes(int n) {
  if (n > MAX) n = MAX;
  for (int i = 0; i <= n; i++) composite[i] = 0;
  int count = 0;
  for (int i = 2; i < n; i++) {
    if (composite[i]) continue;
    count++;
    for (long long j = (long long)i * i; j < n; j += i) composite[j] = 1;
  }
  return count;
}
