// The rule "A view without gaps", message by message, and against a swarm of chance.

import { expect, test } from '@playwright/test';
import { View, type Change, type Told } from '../../src/view';

interface Row {
  readonly name: string;
  readonly revision: number;
}

const row = (name: string, revision: number): Row => ({ name, revision });
const view = () => new View<Row>({ key: (one) => one.name, revision: (one) => one.revision });
const told = (revision: number, updated: Row[] = [], gone: string[] = []): Told<Row> => ({
  revision,
  updated,
  removed: gone.map((key) => ({ key, revision })),
});
const names = (of: View<Row>) => [...of.records()].map((one) => `${one.name}@${one.revision}`).sort();
const page = (revision: number, records: Row[], last = true) => ({ revision, records, last });

test('a listing, then what is told after it', () => {
  const of = view();
  expect(of.list(page(4, [row('a', 2), row('b', 4)])).map((one) => one.key)).toEqual(['a', 'b']);
  expect(of.hear(told(5, [row('a', 5)], ['b']))).toEqual({
    changes: [
      { key: 'a', before: row('a', 2), after: row('a', 5) },
      { key: 'b', before: row('b', 4), after: undefined },
    ] satisfies Change<Row>[],
    missed: false,
  });
  expect(names(of)).toEqual(['a@5']);
});

test('a jump by more than one was missed, and is taken in all the same', () => {
  const of = view();
  of.list(page(4, []));
  expect(of.hear(told(6, [row('a', 6)])).missed).toBe(true);
  expect(names(of)).toEqual(['a@6']);
  expect(of.hear(told(7, [row('b', 7)])).missed).toBe(false);
});

test('an empty repeat of the last revision is none, of another one tells of a missed end', () => {
  const of = view();
  of.list(page(4, []));
  expect(of.hear(told(4)).missed).toBe(false);
  expect(of.hear(told(5, [row('a', 5)])).missed).toBe(false);
  expect(of.hear(told(5)).missed).toBe(false);
  expect(of.hear(told(6)).missed).toBe(true);
});

test('what is not newer than a listing brings back nothing', () => {
  const of = view();
  of.list(page(9, [row('a', 3)]));
  expect(of.hear(told(8, [row('gone', 8)]))).toEqual({ changes: [], missed: false });
  expect(of.hear(told(9, [row('gone', 9)]))).toEqual({ changes: [], missed: false });
  expect(of.hear(told(10, [row('b', 10)])).missed).toBe(false);
  expect(names(of)).toEqual(['a@3', 'b@10']);
});

test('a removal heard during a listing is not undone by a page that is older', () => {
  const of = view();
  of.list(page(4, [row('a', 1)], false));
  of.hear(told(5, [], ['b']));
  of.list(page(4, [row('b', 2)]));
  expect(names(of)).toEqual(['a@1']);
});

test('what is not in a whole listing and older than its first page is gone; what is newer stays', () => {
  const of = view();
  of.list(page(4, [row('a', 1), row('b', 2)]));
  of.startListing();
  of.list(page(7, [row('a', 1)], false));
  of.hear(told(8, [row('c', 8)]));
  const changes = of.list(page(8, [], true));
  expect(changes).toEqual([{ key: 'b', before: row('b', 2), after: undefined }]);
  expect(names(of)).toEqual(['a@1', 'c@8']);
});

test('a listing that was broken off takes nothing away', () => {
  const of = view();
  of.list(page(4, [row('a', 1), row('b', 2)]));
  of.startListing();
  of.list(page(6, [row('a', 1)], false));
  of.startListing();
  of.list(page(6, [row('a', 1), row('b', 2)]));
  expect(names(of)).toEqual(['a@1', 'b@2']);
});

test('a record that went back, with a controller that lost its own, is read anew', () => {
  const of = view();
  of.list(page(40, [row('a', 30)]));
  expect(of.hear(told(2)).missed).toBe(true);
  of.startListing();
  expect(of.list(page(2, [row('b', 2)])).map((one) => [one.key, one.after?.revision])).toEqual([
    ['a', undefined],
    ['b', 2],
  ]);
  expect(of.hear(told(3, [row('c', 3)])).missed).toBe(false);
  expect(names(of)).toEqual(['b@2', 'c@3']);
});

test('records that do not say their revision are as new as what they came in', () => {
  const of = new View<string>({ key: (one) => one[0]!, revision: (_, cameIn) => cameIn });
  of.list({ revision: 4, records: ['a1'], last: false });
  of.hear({ revision: 5, updated: ['b2'], removed: [] });
  of.list({ revision: 4, records: ['b1'], last: true });
  expect([...of.records()]).toEqual(['a1', 'b2']);
});

test('whatever is lost, late and listed meanwhile, the view ends as the record is', () => {
  for (let seed = 1; seed <= 300; seed += 1) check(seed);
});

/** A record that changes by chance, a subject that loses some of its messages, and a listing by pages whenever one is missed. */
function check(seed: number): void {
  const chance = randomOf(seed);
  const record = new Map<string, Row>();
  const of = view();
  let revision = 0;
  let last = told(0);
  const late: Told<Row>[] = [];
  const change = () => {
    const key = `k${chance(12)}`;
    revision += 1;
    if (record.has(key) && chance(3) === 0) {
      record.delete(key);
      last = told(revision, [], [key]);
    } else {
      record.set(key, row(key, revision));
      last = told(revision, [row(key, revision)]);
    }
    return last;
  };
  const list = () => {
    of.startListing();
    let after = '';
    for (;;) {
      const some = [...record.values()].filter((one) => one.name > after).sort((a, b) => (a.name < b.name ? -1 : 1));
      const records = some.slice(0, 1 + chance(4));
      const end = records.length === some.length;
      of.list(page(revision, records, end));
      if (end) return;
      after = records.at(-1)!.name;
      while (chance(2) === 0) hear(change());
    }
  };
  const hear = (message: Told<Row>) => {
    if (chance(4) === 0) return;
    // Only what a listing contains can come late: a subject keeps its order.
    if (of.hear(message).missed) late.push(message);
  };
  list();
  for (let step = 0; step < 60; step += 1) {
    hear(change());
    if (late.splice(0).length > 0) list();
  }
  // The end is told again and again.
  for (let rounds = 0; of.hear(told(revision)).missed || late.splice(0).length > 0; rounds += 1) {
    expect(rounds, `seed ${seed} lists for ever`).toBeLessThan(20);
    list();
  }
  const expected = [...record.values()].map((one) => `${one.name}@${one.revision}`).sort();
  expect(names(of), `seed ${seed}`).toEqual(expected);
}

/** Small whole numbers by chance, the same for the same seed. */
function randomOf(seed: number): (below: number) => number {
  let state = seed * 2654435761;
  return (below) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0;
    return ((state ^ (state >>> 13)) >>> 0) % below;
  };
}
