import { expect, test } from 'vitest';
import { staticDetails } from '../../src/client/static-details.ts';

test('shows the id and the context of a batch', () => {
  const details = staticDetails('b-1', { file: 's3://x' });
  expect(details).toContain('Batch `b-1`');
  expect(details).toContain('```json\n{\n  "file": "s3://x"\n}\n```');
  expect(details).not.toContain('Created by');
});

test('says which batch created it', () => {
  expect(staticDetails('b-2', {}, 'b-1')).toContain('Created by code of the batch `batch:b-1`.');
});

test('cuts a long context', () => {
  const details = staticDetails('b-1', { text: 'x'.repeat(60_000) });
  expect(details.length).toBeLessThan(10_500);
  expect(details).toMatch(/\.\.\.\n```\n\n\u00a0$/);
});
