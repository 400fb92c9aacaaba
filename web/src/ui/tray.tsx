// What was asked for from this page: each operation with its own progress, wherever one has gone meanwhile.

import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { announcement, mine } from '../requests';
import { link } from '../route';
import { now, type Session } from '../session';
import type { OperationRecord } from '../wire';
import { count, figure, length, OPERATION_STATES, target } from '../words';
import { State } from './state';

export function Tray({ session }: { session: Session }) {
  const unfolded = useSignal(false);
  const said = useRef(new Set<string>());
  const operations = mine.value.flatMap((id) => session.swarm.operation(id) ?? []);
  const ended = operations.filter((one) => one.finished_at !== null);
  const failed = ended.filter((one) => one.state !== 'succeeded');

  useEffect(() => {
    const news = ended.filter((one) => !said.current.has(one.operation_id));
    if (news.length === 0) return;
    for (const one of news) said.current.add(one.operation_id);
    announcement.value = news
      .map((one) => `Teardown of ${target(one)}: ${OPERATION_STATES[one.state].word}.`)
      .join(' ');
  }, [ended.length]);

  if (operations.length === 0) return null;
  return (
    <section class={unfolded.value ? 'tray card unfolded' : 'tray card'} aria-label="Your teardowns">
      <div class="tray-head">
        <button
          type="button"
          class="tray-title"
          aria-expanded={unfolded.value}
          onClick={() => (unfolded.value = !unfolded.value)}
        >
          <strong>{count(operations.length, 'teardown')} of yours</strong>
          <span class="muted">
            {figure(ended.length)} ended{failed.length > 0 && `, ${figure(failed.length)} not well`}
          </span>
          <span class="tray-fold" aria-hidden="true" />
        </button>
        {ended.length === operations.length && (
          <button type="button" class="button quiet" onClick={() => (mine.value = [])}>
            Clear
          </button>
        )}
      </div>
      <span class="tray-bar" aria-hidden="true">
        <span class="look-good" style={{ flexGrow: ended.length - failed.length }} />
        <span class="look-alarm" style={{ flexGrow: failed.length }} />
        <span style={{ flexGrow: operations.length - ended.length }} />
      </span>
      {unfolded.value && (
        <ul class="list tray-list">
          {operations.map((one) => (
            <Row key={one.operation_id} one={one} />
          ))}
        </ul>
      )}
    </section>
  );
}

function Row({ one }: { one: OperationRecord }) {
  const end = one.finished_at === null ? now.value : Date.parse(one.finished_at);
  return (
    <li class="item">
      <State of={OPERATION_STATES[one.state]} />
      <div class="item-text">
        <a href={link('op', {}, one.operation_id)}>{target(one)}</a>
        {one.error !== null && <p class="error clip">{one.error}</p>}
      </div>
      <span class="muted number">{length(end - Date.parse(one.accepted_at))}</span>
    </li>
  );
}
