import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EDGE_ERRORS, type EdgeError, sendError } from './error-pages.ts';
import type { Head } from './headers.ts';
import type { Reply } from './reply.ts';

/** What a visitor gets who accepts this. */
function sent(error: EdgeError, accept: string, detail = '') {
  let status = 0;
  let headers: string[] = [];
  let body = '';
  const reply = {
    record: { outcome: 'ok' },
    started: false,
    head(given: number, raw: string[]) {
      status = given;
      headers = raw;
    },
    end(chunk?: Buffer) {
      body = String(chunk ?? '');
    },
  } as unknown as Reply;
  sendError(reply, { method: 'GET', accept } as Head, 'ray<1>', error, detail);
  const type = headers[headers.indexOf('Content-Type') + 1];
  return { status, type, body, outcome: reply.record.outcome };
}

describe('an error page', () => {
  for (const error of Object.keys(EDGE_ERRORS) as EdgeError[]) {
    const { status, code, title, party, how } = EDGE_ERRORS[error];
    it(`of ${error} says what happened, who of three can fix it, how, and the ray id`, () => {
      const page = sent(error, 'text/html', 'detail <b>');
      assert.deepEqual([page.status, page.type, page.outcome], [status, 'text/html; charset=utf-8', error]);
      assert.match(page.body, /^<!doctype html>\n<html lang="en">/);
      assert.ok(page.body.includes(`<h1>Error ${code}: ${title}</h1>`));
      assert.equal(page.body.match(/<li/g)?.length, 3);
      const marked = /<li aria-current="true">([^<]*)<\/li>/.exec(page.body)?.[1];
      assert.equal(
        marked,
        { visitor: 'You', 'site owner': 'The owner of the site', operator: 'The operator of this edge' }[party],
      );
      assert.ok(page.body.includes(how.replaceAll("'", '&#39;')));
      assert.ok(page.body.includes('detail &#60;b&#62;') && page.body.includes('ray&#60;1&#62;'));
    });
  }

  it('is JSON for who accepts JSON', () => {
    const { type, body } = sent('exception', 'application/json', 'more');
    assert.equal(type, 'application/json');
    assert.deepEqual(JSON.parse(body), {
      success: false,
      errors: [{ code: 1101, message: 'Worker threw exception: more' }],
      ray: 'ray<1>',
    });
  });

  for (const [accept, json] of [
    ['', false],
    ['*/*', false],
    ['application/json, text/html;q=0.5', true],
    ['text/html, application/json;q=0.9', false],
    ['application/json, text/html', false],
    ['Application/JSON;q=0.1', true],
    ['application/json;q=0', false],
    ['application/json;q=x, "', true],
  ] as const) {
    it(`is ${json ? 'JSON' : 'HTML'} for ${JSON.stringify(accept)}`, () => {
      assert.equal(sent('exception', accept).type?.startsWith('application/json'), json);
    });
  }
});
