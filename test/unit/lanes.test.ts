import { expect, test } from 'vitest';
import {
  describeLane,
  isQueueName,
  laneKeysOf,
  namesOf,
  OWN_LANE,
  parseLane,
} from '../../workflows/lanes.ts';

const NAMES = ['Mail', '__proto__'];

test('a task queue has a lane of its own, and one for each limited name', () => {
  expect(laneKeysOf(OWN_LANE, []).map(parseLane)).toEqual([{ queue: null, name: null }]);
  expect(laneKeysOf('gpu', NAMES).map(parseLane)).toEqual([
    { queue: 'gpu', name: null },
    { queue: 'gpu', name: 'Mail' },
    { queue: 'gpu', name: '__proto__' },
  ]);
});

test('the limited names are found among the keys, once each', () => {
  expect(namesOf([...laneKeysOf(OWN_LANE, NAMES), ...laneKeysOf('gpu', NAMES)])).toEqual(NAMES);
  expect(namesOf(['gpu', OWN_LANE])).toEqual([]);
});

test('a queue that would be taken for another lane is none', () => {
  expect(['gpu', '', 'a b'].every(isQueueName)).toBe(true);
  expect(isQueueName('gpu\0Mail')).toBe(false);
  expect(isQueueName(5)).toBe(false);
});

test('a lane is described for people', () => {
  expect(laneKeysOf(OWN_LANE, ['Mail']).map(describeLane)).toEqual(['', ' named Mail']);
  expect(laneKeysOf('gpu', ['Mail']).map(describeLane)).toEqual([' on gpu', ' named Mail on gpu']);
});
