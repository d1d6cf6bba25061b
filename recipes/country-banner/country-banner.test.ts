import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { startEdge } from '../../test/harness.ts';
import { localSite } from './src/index.ts';

const edge = await startEdge();
after(() => edge.close());
await edge.deployed(['deploy'], { cwd: import.meta.dirname });

it('puts the banner of the visitor’s country into the page', async () => {
  // Loopback is in no country: XX.
  const { text, headers } = await edge.request(edge.host('country-banner'));
  assert.match(headers['content-type'] ?? '', /^text\/html/);
  assert.match(text, /<body><p class="banner">You are in XX: <a href="https:\/\/shop.example\/international">/);
  assert.match(text, /<h1>Our shop<\/h1>/);
});

it('does not believe a country that the client claims', async () => {
  const { text } = await edge.request(edge.host('country-banner'), '/', { headers: { 'CF-IPCountry': 'NZ' } });
  assert.match(text, /You are in XX/);
});

it('has no banner at home and where there is no local site', () => {
  const env = { HOME_COUNTRY: 'US', SITES: { US: 'https://us.example', NZ: 'https://nz.example' } };
  assert.equal(localSite('US', env), undefined);
  assert.equal(localSite('FR', env), undefined);
  assert.equal(localSite('NZ', env), 'https://nz.example');
});
