// The operations, newest first.

import { useMemo } from 'preact/hooks';
import { hrefTo, route } from '../../state/route';
import { now, type Session } from '../../state/session';
import type { OperationRecord, OperationState } from '../../wire';
import { explainError, formatAge, formatDuration, formatNumber, formatTarget } from '../../text/format';
import { OPERATION_STATES } from '../../text/labels';
import { Choice, hostChoices, Search } from '../components/filters';
import { isNarrow } from '../components/viewport';
import { Empty, Loading } from '../components/notice';
import { StateBadge } from '../components/state-badge';
import { TableHead } from '../components/table-head';
import { VirtualList, type Position } from '../components/virtual-list';

const STATES: readonly (readonly [string, string])[] = [
  ['open', 'open'],
  ['unsuccessful', 'failed or timed out'],
  ...(Object.keys(OPERATION_STATES) as OperationState[]).map(
    (state) => [state, OPERATION_STATES[state].label] as const,
  ),
];

export function Operations({ session }: { session: Session }) {
  const { swarm } = session;
  const { filter } = route.value;
  const all = swarm.operations.value;
  const matching = useMemo(() => all.filter(operationMatcher(filter)), [all, filter]);
  if (!session.isLoaded('operations') && all.length === 0) return <Loading what="operations" />;
  return (
    <>
      <div class="page-head">
        <h1>Operations</h1>
        <p class="muted" role="status">
          {matching.length === all.length
            ? formatNumber(all.length)
            : `${formatNumber(matching.length)} of ${formatNumber(all.length)}`}
        </p>
        <div class="filters">
          <Search label="Host, decky, requester, reason or problem" />
          <Choice label="Any host" name="host" options={hostChoices(swarm.hosts.value)} />
          <Choice label="Any status" name="state" options={STATES} />
        </div>
      </div>
      {matching.length === 0 ? (
        <EmptyList any={all.length > 0} />
      ) : (
        <div class="table operations" role="table" aria-label="Operations" aria-rowcount={matching.length + 1}>
          <TableHead names={['Teardown of', 'Status and problem', 'Requested by', 'Accepted', 'Duration', 'Deckies']} />
          <VirtualList items={matching} height={isNarrow.value ? 92 : 46} role="rowgroup">
            {(operation, index, position) => (
              <Row key={operation.operation_id} operation={operation} index={index} position={position} />
            )}
          </VirtualList>
        </div>
      )}
    </>
  );
}

function EmptyList({ any }: { any: boolean }) {
  return any ? (
    <Empty title="No operations match the filter.">
      <a href={hrefTo('operations')}>Show all operations</a>
    </Empty>
  ) : (
    <Empty title="No operations yet.">Each teardown is kept here for 30 days, with its outcome.</Empty>
  );
}

function Row({ operation, index, position }: { operation: OperationRecord; index: number; position: Position }) {
  const { removed, absent, failed, pending } = operation.counts;
  const end = operation.finished_at === null ? now.value : Date.parse(operation.finished_at);
  return (
    <div class="row" role="row" aria-rowindex={index + 2} style={position}>
      <span role="cell" class="cell-name" title={formatTarget(operation)}>
        <a class="name" href={hrefTo('op', {}, operation.operation_id)}>
          {formatTarget(operation)}
        </a>
      </span>
      <span role="cell" class="cell-state">
        <StateBadge badge={OPERATION_STATES[operation.state]} />
        {operation.error !== null && (
          <small class="error-line" title={explainError(operation.error)}>
            {explainError(operation.error)}
          </small>
        )}
      </span>
      <span role="cell" class="cell-who">
        {operation.requested_by}
      </span>
      <span role="cell" class="cell-time muted" title={operation.accepted_at}>
        {formatAge(operation.accepted_at, now.value)}
      </span>
      <span role="cell" class="cell-took muted number">
        {formatDuration(end - Date.parse(operation.accepted_at))}
      </span>
      <span role="cell" class="cell-counts number">
        {removed + absent} of {removed + absent + failed + pending} gone
        {failed > 0 && <span class="word tone-alarm"> · {failed} failed</span>}
      </span>
    </div>
  );
}

/** Returns a predicate for the operations that match a filter. */
function operationMatcher(filter: URLSearchParams): (operation: OperationRecord) => boolean {
  const host = filter.get('host') ?? '';
  const state = filter.get('state') ?? '';
  const words = (filter.get('q') ?? '').toLowerCase().split(' ').filter(Boolean);
  return (operation) => {
    if (host !== '' && operation.host_uuid !== host) return false;
    if (state === 'open' && operation.finished_at !== null) return false;
    if (state === 'unsuccessful' && operation.state !== 'failed' && operation.state !== 'timed_out') return false;
    if (state in OPERATION_STATES && operation.state !== state) return false;
    const text =
      `${operation.host_name} ${operation.decky_id ?? ''} ${operation.requested_by} ${operation.reason ?? ''} ${explainError(operation.error ?? '')} ${operation.operation_id}`.toLowerCase();
    return words.every((word) => text.includes(word));
  };
}
