import { afterAll, expect } from 'vitest';
import { openClients } from '../../src/client/open-clients.ts';

// Files share a process. Code outside of a block starts jobs with the one client that is open there, so that a client that
// a file leaves open would break the files after it. The hook of a setup file runs after those of the file.
afterAll(() => {
  const { size } = openClients;
  openClients.clear();
  expect(size, 'clients that this file left open').toBe(0);
});
