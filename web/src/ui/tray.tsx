// The tray at the foot of every page: the progress of the operations that this page requested.

import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { announcement, myOperations } from '../state/requests';
import { hrefTo } from '../state/route';
import { now, type Session } from '../state/session';
import type { OperationRecord } from '../wire';
import { explainError, formatCount, formatDuration, formatNumber, formatTarget } from '../text/format';
import { OPERATION_STATES } from '../text/labels';
import { StateBadge } from './components/state-badge';

export function Tray({ session }: { session: Session }) {
  const expanded = useSignal(false);
  const announced = useRef(new Set<string>());
  const operations = myOperations.value.flatMap((id) => session.swarm.operation(id) ?? []);
  const ended = operations.filter((operation) => operation.finished_at !== null);
  const unsuccessful = ended.filter((operation) => operation.state !== 'succeeded');

  useEffect(() => {
    const newlyEnded = ended.filter((operation) => !announced.current.has(operation.operation_id));
    if (newlyEnded.length === 0) return;
    for (const operation of newlyEnded) announced.current.add(operation.operation_id);
    announcement.value = newlyEnded
      .map((operation) => `Teardown of ${formatTarget(operation)}: ${OPERATION_STATES[operation.state].label}.`)
      .join(' ');
  }, [ended.length]);

  if (operations.length === 0) return null;
  return (
    <section class={expanded.value ? 'tray card expanded' : 'tray card'} aria-label="Your teardowns">
      <div class="tray-head">
        <button
          type="button"
          class="tray-title"
          aria-expanded={expanded.value}
          onClick={() => (expanded.value = !expanded.value)}
        >
          <strong>{formatCount(operations.length, 'teardown')} requested</strong>
          <span class="muted">
            {formatNumber(ended.length)} ended
            {unsuccessful.length > 0 && `, ${formatNumber(unsuccessful.length)} unsuccessful`}
          </span>
          <span class="tray-fold" aria-hidden="true" />
        </button>
        {ended.length === operations.length && (
          <button type="button" class="button quiet" onClick={() => (myOperations.value = [])}>
            Clear
          </button>
        )}
      </div>
      <span class="tray-bar" aria-hidden="true">
        <span class="tone-good" style={{ flexGrow: ended.length - unsuccessful.length }} />
        <span class="tone-alarm" style={{ flexGrow: unsuccessful.length }} />
        <span style={{ flexGrow: operations.length - ended.length }} />
      </span>
      {expanded.value && (
        <ul class="list tray-list">
          {operations.map((operation) => (
            <Row key={operation.operation_id} operation={operation} />
          ))}
        </ul>
      )}
    </section>
  );
}

function Row({ operation }: { operation: OperationRecord }) {
  const end = operation.finished_at === null ? now.value : Date.parse(operation.finished_at);
  return (
    <li class="item">
      <StateBadge badge={OPERATION_STATES[operation.state]} />
      <div class="item-text">
        <a href={hrefTo('op', {}, operation.operation_id)}>{formatTarget(operation)}</a>
        {operation.error !== null && <p class="error clip">{explainError(operation.error)}</p>}
      </div>
      <span class="muted number">{formatDuration(end - Date.parse(operation.accepted_at))}</span>
    </li>
  );
}
