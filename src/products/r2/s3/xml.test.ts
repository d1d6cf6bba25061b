/** XML as clients of S3 write and read it. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import type { R2Error } from '../limits.ts';
import { buildXml, parseXml } from './xml.ts';

const keyIn = (text: string) => (parseXml(text) as { Delete: { Key: string } }).Delete.Key;

it('reads characters that are written by number: Go writes quotes so, the SDK line ends', () => {
  assert.equal(keyIn('<Delete><Key>it&#39;s &#34;a&#34;&#xD;&#xA;&#x1F600;</Key></Delete>'), 'it\'s "a"\r\n😀');
  assert.equal(keyIn('<Delete><Key>&amp;#39; &amp;lt;</Key></Delete>'), '&#39; &lt;');
  assert.equal(keyIn('<Delete><Key>&lt;&gt;&amp;&apos;&quot;</Key></Delete>'), '<>&\'"');
  assert.equal(keyIn('<Delete><Key><![CDATA[&amp;<]]></Key></Delete>'), '&amp;<');
});

it('refuses documents with a type of their own, without an end, and too deep ones', () => {
  for (const text of ['<!DOCTYPE a><a/>', '<a>', '', 'a', '<a></b>', `${'<a>'.repeat(21)}${'</a>'.repeat(21)}`]) {
    assert.throws(
      () => parseXml(text),
      (error: R2Error) => error.error === 'MalformedXML',
      text.slice(0, 20),
    );
  }
});

it('gives a text back as it was, but for the characters that XML does not have', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 20 }), (key) => {
      const document = String(buildXml('Delete', { Key: key }));
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are meant.
      assert.equal(keyIn(document), key.replace(/[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g, '\ufffd'));
      assert.doesNotMatch(document, /\r/);
    }),
    { numRuns: 2_000 },
  );
});
