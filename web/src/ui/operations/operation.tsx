// One operation: its timeline, the outcome of each decky, and the buttons to cancel or retry it.

import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { RequestError } from '../../nats/client';
import { recordStep, STARTED_STEP, steps } from '../../state/event-feed';
import { fetchOperation, requestCancel } from '../../state/requests';
import { hrefTo } from '../../state/route';
import { now, type Session } from '../../state/session';
import type { OperationRecord, OperationShard } from '../../wire';
import {
  explainError,
  formatAge,
  formatDuration,
  formatNumber,
  formatTarget,
  formatTime,
  localizeTimes,
} from '../../text/format';
import { OPERATION_STATES, OUTCOMES, type Badge } from '../../text/labels';
import { Fact } from '../components/fact';
import { Empty, Loading, Notice } from '../components/notice';
import { StateBadge } from '../components/state-badge';
import { ActionSlot, ArmedButton, RetryButton } from '../components/teardown-button';

/** How often a running operation is fetched: its progress steps are not broadcast. */
const POLL_INTERVAL_MS = 700;
/** How often a queued operation is fetched: only the time of its next attempt changes. */
const QUEUED_POLL_INTERVAL_MS = 5_000;

export function Operation({ session, id }: { session: Session; id: string }) {
  const listed = session.swarm.operation(id);
  const fetched = useSignal<OperationRecord | undefined>(undefined);
  const fetchError = useSignal<RequestError | undefined>(undefined);
  const open = listed?.finished_at === null;

  useEffect(() => {
    let closed = false;
    let timer: number | undefined;
    const refresh = async () => {
      try {
        const found = await fetchOperation(id);
        if (closed) return;
        fetched.value = found;
        fetchError.value = undefined;
        recordAgentStep(found);
      } catch (error) {
        if (!closed) fetchError.value = error as RequestError;
      }
      const unknown = fetchError.value !== undefined && !isMissing(fetchError.value);
      if (!closed && (open || unknown))
        timer = window.setTimeout(
          () => void refresh(),
          listed?.state === 'running' ? POLL_INTERVAL_MS : QUEUED_POLL_INTERVAL_MS,
        );
    };
    void refresh();
    return () => {
      closed = true;
      clearTimeout(timer);
    };
    // A broadcast change of any of these fields fetches the deckies again.
  }, [id, open, listed?.state, listed?.attempts, listed?.counts.removed, listed?.counts.failed, listed?.counts.absent]);

  const operation = listed ?? fetched.value;
  if (operation === undefined) {
    if (fetchError.value === undefined) return <Loading what="the operation" />;
    return (
      <Empty title={isMissing(fetchError.value) ? 'Operation not found.' : 'Cannot load the operation.'}>
        {isMissing(fetchError.value)
          ? 'Ended operations are kept for 30 days. '
          : `${toSentence(fetchError.value.message)} `}
        <a href={hrefTo('operations')}>All operations</a>
      </Empty>
    );
  }
  const waiting = operation.finished_at === null ? (fetched.value?.waiting_for ?? operation.waiting_for) : null;
  return (
    <article class="operation">
      <Head operation={operation} session={session} />
      {operation.error !== null && (
        <Notice
          tone="alarm"
          title={operation.state === 'timed_out' ? 'Timed out' : 'Error'}
          text={explainError(operation.error)}
        />
      )}
      {waiting !== null && (
        <Notice
          tone="wait"
          title={WAITING_TITLES[waiting.what] ?? `Waiting for ${waiting.what}`}
          text={toSentence(localizeTimes(waiting.detail, now.value))}
        >
          <p class="muted">
            {waiting.what === 'teardown' ? 'Running' : 'Waiting'} for{' '}
            {formatDuration(now.value - Date.parse(waiting.since))}
            {waiting.next_attempt_at !== null && `; next attempt ${formatRemaining(waiting.next_attempt_at)}`}
          </p>
        </Notice>
      )}
      <div class="columns even">
        <section class="card" aria-labelledby="timeline">
          <div class="card-head">
            <h2 id="timeline">Timeline</h2>
          </div>
          <Timeline operation={operation} />
        </section>
        <Outcomes operation={operation} shards={fetched.value?.shards ?? undefined} />
      </div>
      <Facts operation={operation} />
    </article>
  );
}

const WAITING_TITLES: Readonly<Record<string, string>> = {
  agent: 'Waiting for the agent',
  operation: 'Waiting for another operation on this host',
  runtime: 'Waiting for the container runtime on the host',
  teardown: 'The agent is working on it',
};

const toSentence = (text: string) => `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`;

/** Whether there is no such operation. The controller rejects a text that is no operation id as an invalid request. */
const isMissing = ({ code }: RequestError) => code === 'operation_not_found' || code === 'bad_request';

const formatRemaining = (at: string) => {
  const ms = Date.parse(at) - now.value;
  return ms < 1_000 ? 'now' : `in ${formatDuration(ms)}`;
};

function Head({ operation, session }: { operation: OperationRecord; session: Session }) {
  const failed = session.swarm.shards.value.filter(
    (shard) => shard.operation_id === operation.operation_id && shard.state === 'teardown_failed',
  );
  const requestKey = `cancel ${operation.operation_id}`;
  return (
    <div class="operation-head">
      <div>
        <p class="crumbs">
          <a href={hrefTo('operations')}>Operations</a>
        </p>
        <h1>Teardown of {formatTarget(operation)}</h1>
        <p class="muted">
          requested by <strong>{operation.requested_by}</strong> {formatAge(operation.accepted_at, now.value)}
          {operation.reason !== null && <>, “{operation.reason}”</>}
        </p>
      </div>
      <div class="operation-acts">
        <StateBadge badge={OPERATION_STATES[operation.state]} />
        {operation.state === 'queued' && (
          <ActionSlot requestKey={requestKey}>
            <ArmedButton
              requestKey={requestKey}
              verb="Cancel"
              target={`the teardown of ${formatTarget(operation)}`}
              commit={() => void requestCancel(operation)}
            />
          </ActionSlot>
        )}
        <RetryButton shards={failed} where="operation" />
      </div>
    </div>
  );
}

interface Point {
  readonly key: string;
  readonly at: string | null;
  readonly text: string;
  readonly tone: string;
  readonly detail?: string | undefined;
}

function Timeline({ operation }: { operation: OperationRecord }) {
  return (
    <ol class="timeline">
      {timelinePoints(operation).map((point) => (
        <li key={point.key} class={`point tone-${point.tone}`}>
          <span class="point-glyph">
            <span class="glyph" aria-hidden="true" />
          </span>
          <div>
            <p>
              {point.text}
              {point.detail !== undefined && <small class="muted"> {point.detail}</small>}
            </p>
            {point.at !== null && (
              <time class="muted number" dateTime={point.at} title={point.at}>
                {formatTime(point.at, now.value)}
                {point.at !== operation.accepted_at &&
                  ` · after ${formatDuration(Date.parse(point.at) - Date.parse(operation.accepted_at))}`}
              </time>
            )}
          </div>
        </li>
      ))}
    </ol>
  );
}

/** The timeline: the times on the record, and between them the steps that this page saw. */
function timelinePoints(operation: OperationRecord): Point[] {
  const seen = (steps.value.get(operation.operation_id) ?? []).map((step) => ({
    key: step.text,
    at: step.at,
    text: step.text,
    tone: 'busy',
  }));
  const points: Point[] = [
    { key: 'accepted', at: operation.accepted_at, text: 'accepted and stored on disk', tone: 'good' },
    {
      key: 'sent',
      at: null,
      text:
        operation.attempts === 0
          ? 'command not sent yet'
          : `command sent ${operation.attempts === 1 ? 'once' : `${operation.attempts} times`}`,
      tone: operation.attempts === 0 ? 'wait' : 'good',
    },
    // The start comes first, even if another step was seen before it.
    ...seen.sort(
      (a, b) =>
        Number(b.text === STARTED_STEP) - Number(a.text === STARTED_STEP) || Date.parse(a.at) - Date.parse(b.at),
    ),
  ];
  if (operation.finished_at === null) {
    const text = operation.state === 'queued' ? 'waiting to start' : 'teardown in progress';
    points.push({
      key: 'now',
      at: null,
      text,
      tone: 'wait',
      detail: `deadline ${formatRemaining(operation.deadline)}`,
    });
    return points;
  }
  const { label, tone }: Badge = OPERATION_STATES[operation.state];
  points.push({ key: 'ended', at: operation.finished_at, text: label, tone, detail: describeOutcome(operation) });
  return points;
}

function describeOutcome({ counts }: OperationRecord): string {
  const parts = [
    counts.removed > 0 && `${formatNumber(counts.removed)} removed`,
    counts.absent > 0 && `${formatNumber(counts.absent)} absent`,
    counts.failed > 0 && `${formatNumber(counts.failed)} failed`,
    counts.pending > 0 && `${formatNumber(counts.pending)} unknown`,
  ];
  return parts.filter(Boolean).join(', ');
}

/** Matches the detail of a running operation: `the agent reported at 2026-…Z: removing, 3 of 5 deckies done`. */
const AGENT_STEP = /^the agent reported at (\S+Z): (.*)$/;

function recordAgentStep(operation: OperationRecord): void {
  const [, at, step] = AGENT_STEP.exec(operation.waiting_for?.detail ?? '') ?? [];
  if (at === undefined || step === undefined) return;
  recordStep(operation.operation_id, { at, text: step === 'started' ? STARTED_STEP : `agent: ${step}` });
}

function Outcomes({
  operation,
  shards,
}: {
  operation: OperationRecord;
  shards: readonly OperationShard[] | undefined;
}) {
  const { removed, absent, failed, pending } = operation.counts;
  const all = removed + absent + failed + pending;
  return (
    <section class="card" aria-labelledby="outcomes">
      <div class="card-head">
        <h2 id="outcomes">Deckies</h2>
        <span class="muted number">
          {formatNumber(removed + absent)} of {formatNumber(all)} gone
        </span>
      </div>
      {all === 0 && <Empty title="No deckies on record.">The agent still removes whatever it finds.</Empty>}
      {shards === undefined && all > 0 && <Loading what="the deckies" />}
      <ul class="list outcomes">
        {shards?.map((shard) => (
          <li key={shard.decky_id} class="item">
            <StateBadge badge={OUTCOMES[shard.outcome]} />
            <div class="item-text">
              <span class="id">{shard.decky_id}</span>
              {shard.error !== null && <p class="error">{explainError(shard.error)}</p>}
              {shard.evidence !== undefined && shard.evidence !== null && (
                <p class="muted">
                  Evidence on {operation.host_name}: <span class="id">{shard.evidence.path}</span>,{' '}
                  {formatNumber(shard.evidence.bytes)} bytes, SHA-256 <span class="id">{shard.evidence.sha256}</span>
                </p>
              )}
            </div>
          </li>
        ))}
      </ul>
      {shards !== undefined && shards.length < all && (
        <p class="card-more muted">Showing the first {formatNumber(shards.length)}, failed deckies first.</p>
      )}
    </section>
  );
}

function Facts({ operation }: { operation: OperationRecord }) {
  return (
    <dl class="facts card across">
      <Fact name="Host">
        <a href={hrefTo('deckies', { host: operation.host_uuid })}>{operation.host_name}</a>
      </Fact>
      <Fact name="Host ID">
        <span class="id">{operation.host_uuid}</span>
      </Fact>
      <Fact name="Requested by">{operation.requested_by}</Fact>
      <Fact name="Reason">{operation.reason ?? '—'}</Fact>
      <Fact name="Deadline">{formatTime(operation.deadline, now.value)}</Fact>
      <Fact name="Operation">
        <span class="id">{operation.operation_id}</span>
      </Fact>
    </dl>
  );
}
