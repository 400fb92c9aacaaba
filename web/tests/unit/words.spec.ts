// Figures and times as people read them.

import { expect, test } from '@playwright/test';
import { ago, length, localTimes, time } from '../../src/words';

test('lengths of time', () => {
  const rows: [number, string][] = [
    [-5, '0 ms'],
    [40, '40 ms'],
    [949, '949 ms'],
    [950, '0.9 s'],
    [9_940, '9.9 s'],
    [12_400, '12 s'],
    [89_000, '89 s'],
    [90_000, '2 min'],
    [89 * 60_000, '89 min'],
    [3 * 3_600_000, '3 h'],
    [72 * 3_600_000, '3 d'],
  ];
  for (const [ms, words] of rows) expect(length(ms), `${ms} ms`).toBe(words);
});

test('how long ago', () => {
  const now = Date.parse('2026-11-23T09:00:00.000Z');
  expect(ago('2026-11-23T08:59:59.500Z', now)).toBe('just now');
  expect(ago('2026-11-23T08:59:48.000Z', now)).toBe('12 s ago');
  expect(ago('2026-11-23T08:00:00.000Z', now)).toBe('60 min ago');
  // A clock that is behind the controller's.
  expect(ago('2026-11-23T09:00:30.000Z', now)).toBe('just now');
});

test('times in a text of the controller are told as they are here', () => {
  const at = '2026-11-23T09:11:49.000Z';
  const now = Date.parse(at);
  expect(localTimes(`host offline since ${at}`, now)).toBe(`host offline since ${time(at, now)}`);
  expect(localTimes('nothing', now)).toBe('nothing');
});
