// The formats of numbers, times and durations.

import { expect, test } from '@playwright/test';
import { explainError, formatAge, formatDuration, formatHost, formatTime, localizeTimes } from '../../src/text/format';

test('a duration is formatted in one unit', () => {
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
  for (const [ms, text] of rows) expect(formatDuration(ms), `${ms} ms`).toBe(text);
});

test('an age is formatted in seconds or larger units', () => {
  const now = Date.parse('2026-11-23T09:00:00.000Z');
  expect(formatAge('2026-11-23T08:59:59.500Z', now)).toBe('just now');
  expect(formatAge('2026-11-23T08:59:48.000Z', now)).toBe('12 s ago');
  expect(formatAge('2026-11-23T08:00:00.000Z', now)).toBe('60 min ago');
  // The local clock is behind the controller's.
  expect(formatAge('2026-11-23T09:00:30.000Z', now)).toBe('just now');
});

test('UTC times in a text from the controller are replaced by local times', () => {
  const at = '2026-11-23T09:11:49.000Z';
  const now = Date.parse(at);
  expect(localizeTimes(`host offline since ${at}`, now)).toBe(`host offline since ${formatTime(at, now)}`);
  expect(localizeTimes('nothing', now)).toBe('nothing');
});

test('an error of the controller that is one word is shown as a sentence', () => {
  expect(explainError('undelivered')).toBe('the host’s agent never started it');
  expect(explainError('unfinished')).toBe('the agent started but did not report back in time');
  expect(explainError('unfinished: cannot reach the Docker Engine')).toBe(
    'the agent started but did not report back in time: cannot reach the Docker Engine',
  );
  expect(explainError('network trap has active endpoints')).toBe('network trap has active endpoints');
});

test('a host is shown with its id where the name differs', () => {
  expect(formatHost('harbour', 'harbour')).toBe('harbour');
  expect(formatHost('harbour', '0197')).toBe('harbour (0197)');
});
