// The rule "a view without gaps": message by message, and against random histories.

import { expect, test } from '@playwright/test';
import { View, type Change, type Broadcast } from '../../src/nats/view';

interface Row {
  readonly name: string;
  readonly revision: number;
}

const row = (name: string, revision: number): Row => ({ name, revision });
const format = (row: Row) => `${row.name}@${row.revision}`;
const newView = () => new View<Row>({ key: (row) => row.name, revision: (row) => row.revision });
const broadcast = (revision: number, updated: Row[] = [], removed: string[] = []): Broadcast<Row> => ({
  revision,
  updated,
  removed: removed.map((key) => ({ key, revision })),
});
const rowsIn = (view: View<Row>) => [...view.records()].map(format).sort();
const page = (revision: number, records: Row[], last = true) => ({ revision, records, last });

test('a view applies a listing and the broadcasts after it', () => {
  const view = newView();
  expect(view.applyPage(page(4, [row('a', 2), row('b', 4)])).map((change) => change.key)).toEqual(['a', 'b']);
  expect(view.applyBroadcast(broadcast(5, [row('a', 5)], ['b']))).toEqual({
    changes: [
      { key: 'a', before: row('a', 2), after: row('a', 5) },
      { key: 'b', before: row('b', 4), after: undefined },
    ] satisfies Change<Row>[],
    missed: false,
  });
  expect(rowsIn(view)).toEqual(['a@5']);
});

test('a broadcast after a gap is applied and reports the missed one', () => {
  const view = newView();
  view.applyPage(page(4, []));
  expect(view.applyBroadcast(broadcast(6, [row('a', 6)])).missed).toBe(true);
  expect(rowsIn(view)).toEqual(['a@6']);
  expect(view.applyBroadcast(broadcast(7, [row('b', 7)])).missed).toBe(false);
});

test('an empty repeat of the last revision reports no gap, and of another revision reports one', () => {
  const view = newView();
  view.applyPage(page(4, []));
  expect(view.applyBroadcast(broadcast(4)).missed).toBe(false);
  expect(view.applyBroadcast(broadcast(5, [row('a', 5)])).missed).toBe(false);
  expect(view.applyBroadcast(broadcast(5)).missed).toBe(false);
  expect(view.applyBroadcast(broadcast(6)).missed).toBe(true);
});

test('a broadcast that is not newer than the listing is ignored', () => {
  const view = newView();
  view.applyPage(page(9, [row('a', 3)]));
  expect(view.applyBroadcast(broadcast(8, [row('gone', 8)]))).toEqual({ changes: [], missed: false });
  expect(view.applyBroadcast(broadcast(9, [row('gone', 9)]))).toEqual({ changes: [], missed: false });
  expect(view.applyBroadcast(broadcast(10, [row('b', 10)])).missed).toBe(false);
  expect(rowsIn(view)).toEqual(['a@3', 'b@10']);
});

test('a removal during a listing is not undone by an older page', () => {
  const view = newView();
  view.applyPage(page(4, [row('a', 1)], false));
  view.applyBroadcast(broadcast(5, [], ['b']));
  view.applyPage(page(4, [row('b', 2)]));
  expect(rowsIn(view)).toEqual(['a@1']);
});

test('a complete listing removes the records that it lacks, except those newer than its first page', () => {
  const view = newView();
  view.applyPage(page(4, [row('a', 1), row('b', 2)]));
  view.beginListing();
  view.applyPage(page(7, [row('a', 1)], false));
  view.applyBroadcast(broadcast(8, [row('c', 8)]));
  const changes = view.applyPage(page(8, [], true));
  expect(changes).toEqual([{ key: 'b', before: row('b', 2), after: undefined }]);
  expect(rowsIn(view)).toEqual(['a@1', 'c@8']);
});

test('an unfinished listing removes nothing', () => {
  const view = newView();
  view.applyPage(page(4, [row('a', 1), row('b', 2)]));
  view.beginListing();
  view.applyPage(page(6, [row('a', 1)], false));
  view.beginListing();
  view.applyPage(page(6, [row('a', 1), row('b', 2)]));
  expect(rowsIn(view)).toEqual(['a@1', 'b@2']);
});

test('a view starts again when the controller returns with a lower revision', () => {
  const view = newView();
  view.applyPage(page(40, [row('a', 30)]));
  expect(view.applyBroadcast(broadcast(2)).missed).toBe(true);
  view.beginListing();
  expect(view.applyPage(page(2, [row('b', 2)])).map((change) => [change.key, change.after?.revision])).toEqual([
    ['a', undefined],
    ['b', 2],
  ]);
  expect(view.applyBroadcast(broadcast(3, [row('c', 3)])).missed).toBe(false);
  expect(rowsIn(view)).toEqual(['b@2', 'c@3']);
});

test('a record without a revision takes the revision of its message', () => {
  const view = new View<string>({ key: (record) => record[0]!, revision: (_, messageRevision) => messageRevision });
  view.applyPage({ revision: 4, records: ['a1'], last: false });
  view.applyBroadcast({ revision: 5, updated: ['b2'], removed: [] });
  view.applyPage({ revision: 4, records: ['b1'], last: true });
  expect([...view.records()]).toEqual(['a1', 'b2']);
});

test('the view ends equal to the record, whatever messages are lost, late or concurrent with a listing', () => {
  for (let seed = 1; seed <= 300; seed += 1) checkHistory(seed);
});

/** Checks one random history: records change, a quarter of the broadcasts is lost, and each gap causes a paged listing. */
function checkHistory(seed: number): void {
  const random = seededRandom(seed);
  const records = new Map<string, Row>();
  const view = newView();
  let revision = 0;
  let last = broadcast(0);
  const missed: Broadcast<Row>[] = [];
  const change = () => {
    const key = `k${random(12)}`;
    revision += 1;
    if (records.has(key) && random(3) === 0) {
      records.delete(key);
      last = broadcast(revision, [], [key]);
    } else {
      records.set(key, row(key, revision));
      last = broadcast(revision, [row(key, revision)]);
    }
    return last;
  };
  const list = () => {
    view.beginListing();
    let after = '';
    for (;;) {
      const remaining = [...records.values()]
        .filter((row) => row.name > after)
        .sort((a, b) => (a.name < b.name ? -1 : 1));
      const listed = remaining.slice(0, 1 + random(4));
      const end = listed.length === remaining.length;
      view.applyPage(page(revision, listed, end));
      if (end) return;
      after = listed.at(-1)!.name;
      while (random(2) === 0) receive(change());
    }
  };
  const receive = (message: Broadcast<Row>) => {
    if (random(4) === 0) return;
    // A subject keeps its order, so only a broadcast that a listing already contains can arrive late.
    if (view.applyBroadcast(message).missed) missed.push(message);
  };
  list();
  for (let step = 0; step < 60; step += 1) {
    receive(change());
    if (missed.splice(0).length > 0) list();
  }
  // The controller repeats the last revision.
  for (let rounds = 0; view.applyBroadcast(broadcast(revision)).missed || missed.splice(0).length > 0; rounds += 1) {
    expect(rounds, `seed ${seed} never stops listing`).toBeLessThan(20);
    list();
  }
  const expected = [...records.values()].map(format).sort();
  expect(rowsIn(view), `seed ${seed}`).toEqual(expected);
}

/** Returns a generator of random integers below a bound, the same sequence for the same seed. */
function seededRandom(seed: number): (below: number) => number {
  let state = seed * 2654435761;
  return (below) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0;
    return ((state ^ (state >>> 13)) >>> 0) % below;
  };
}
