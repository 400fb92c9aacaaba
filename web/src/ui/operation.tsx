// One operation: its way from the request to the result, what became of each decky, and what can be done about it.

import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { Refused } from '../bus';
import { sawStep, STARTED, steps } from '../feed';
import { cancel, whole } from '../requests';
import { link } from '../route';
import { now, type Session } from '../session';
import type { OperationRecord, OperationShard } from '../wire';
import { ago, figure, length, localTimes, OPERATION_STATES, OUTCOMES, target, time, type Look } from '../words';
import { Fact } from './decky-panel';
import { Empty, Loading, Notice } from './notice';
import { State } from './state';
import { Acting, ArmedButton, RetryButton } from './teardown-button';

/** Steps are told on no broadcast: who looks at an open operation asks for them. */
const ASK_MS = 700;
/** One that waits has no steps; only when its command is sent again moves on. */
const ASK_WAITING_MS = 5_000;

export function Operation({ session, id }: { session: Session; id: string }) {
  const told = session.swarm.operation(id);
  const asked = useSignal<OperationRecord | undefined>(undefined);
  const trouble = useSignal<Refused | undefined>(undefined);
  const open = told?.finished_at === null;

  useEffect(() => {
    let closed = false;
    let timer: number | undefined;
    const look = async () => {
      try {
        const found = await whole(id);
        if (closed) return;
        asked.value = found;
        trouble.value = undefined;
        saw(found);
      } catch (error) {
        if (!closed) trouble.value = error as Refused;
      }
      const unknown = trouble.value !== undefined && trouble.value.code !== 'operation_not_found';
      if (!closed && (open || unknown))
        timer = window.setTimeout(() => void look(), told?.state === 'running' ? ASK_MS : ASK_WAITING_MS);
    };
    void look();
    return () => {
      closed = true;
      clearTimeout(timer);
    };
    // Whatever changes it is told, and asks for its deckies anew.
  }, [id, open, told?.state, told?.attempts, told?.counts.removed, told?.counts.failed, told?.counts.absent]);

  const one = told ?? asked.value;
  if (one === undefined) {
    if (trouble.value === undefined) return <Loading what="the operation" />;
    return (
      <Empty
        title={trouble.value.code === 'operation_not_found' ? 'There is no such operation.' : 'It cannot be shown now.'}
      >
        {trouble.value.code === 'operation_not_found'
          ? 'Ended ones are kept for 30 days. '
          : `${trouble.value.message} `}
        <a href={link('operations')}>All operations</a>
      </Empty>
    );
  }
  const waiting = one.finished_at === null ? (asked.value?.waiting_for ?? one.waiting_for) : null;
  return (
    <article class="operation">
      <Head one={one} session={session} />
      {one.error !== null && (
        <Notice look="alarm" title={one.state === 'timed_out' ? 'It timed out' : 'What went wrong'} text={one.error} />
      )}
      {waiting !== null && (
        <Notice
          look="wait"
          title={WAITS[waiting.what] ?? `It waits for ${waiting.what}`}
          text={sentence(localTimes(waiting.detail, now.value))}
        >
          <p class="muted">
            for {length(now.value - Date.parse(waiting.since))}
            {waiting.next_attempt_at !== null && `; its command is sent again ${soon(waiting.next_attempt_at)}`}
          </p>
        </Notice>
      )}
      <div class="columns even">
        <section class="card" aria-labelledby="timeline">
          <div class="card-head">
            <h2 id="timeline">What happened</h2>
          </div>
          <Timeline one={one} />
        </section>
        <Outcomes one={one} shards={asked.value?.shards ?? undefined} />
      </div>
      <Facts one={one} />
    </article>
  );
}

const WAITS: Readonly<Record<string, string>> = {
  agent: 'It waits for its agent',
  operation: 'It waits for another operation of its host',
  teardown: 'Its agent is at work on it',
};

const sentence = (text: string) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;

const soon = (at: string) => {
  const ms = Date.parse(at) - now.value;
  return ms < 1_000 ? 'now' : `in ${length(ms)}`;
};

function Head({ one, session }: { one: OperationRecord; session: Session }) {
  const failed = session.swarm.shards.value.filter(
    (shard) => shard.operation_id === one.operation_id && shard.state === 'teardown_failed',
  );
  const name = `cancel ${one.operation_id}`;
  return (
    <div class="operation-head">
      <div>
        <p class="crumbs">
          <a href={link('operations')}>Operations</a>
        </p>
        <h1>Teardown of {target(one)}</h1>
        <p class="muted">
          asked by <strong>{one.requested_by}</strong> {ago(one.accepted_at, now.value)}
          {one.reason !== null && <>, “{one.reason}”</>}
        </p>
      </div>
      <div class="operation-acts">
        <State of={OPERATION_STATES[one.state]} />
        {one.state === 'queued' && (
          <Acting name={name}>
            <ArmedButton
              name={name}
              verb="Cancel"
              what={`the teardown of ${target(one)}`}
              commit={() => void cancel(one)}
            />
          </Acting>
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
  readonly look: string;
  readonly detail?: string | undefined;
}

function Timeline({ one }: { one: OperationRecord }) {
  return (
    <ol class="timeline">
      {pointsOf(one).map((point) => (
        <li key={point.key} class={`point look-${point.look}`}>
          <span class="point-sign">
            <span class="sign" aria-hidden="true" />
          </span>
          <div>
            <p>
              {point.text}
              {point.detail !== undefined && <small class="muted"> {point.detail}</small>}
            </p>
            {point.at !== null && (
              <time class="muted number" dateTime={point.at} title={point.at}>
                {time(point.at, now.value)}
                {point.at !== one.accepted_at &&
                  ` · after ${length(Date.parse(point.at) - Date.parse(one.accepted_at))}`}
              </time>
            )}
          </div>
        </li>
      ))}
    </ol>
  );
}

/** Its way as the record has it, and between its two ends what was seen from here. */
function pointsOf(one: OperationRecord): Point[] {
  const seen = (steps.value.get(one.operation_id) ?? []).map((step) => ({
    key: step.text,
    at: step.at,
    text: step.text,
    look: 'going',
  }));
  const points: Point[] = [
    { key: 'accepted', at: one.accepted_at, text: 'accepted, and on disk', look: 'good' },
    {
      key: 'sent',
      at: null,
      text:
        one.attempts === 0
          ? 'its command is not sent yet'
          : `its command was sent ${one.attempts === 1 ? 'once' : `${one.attempts} times`}`,
      look: one.attempts === 0 ? 'wait' : 'good',
    },
    // The start comes first, though a step can be heard of before it.
    ...seen.sort(
      (a, b) => Number(b.text === STARTED) - Number(a.text === STARTED) || Date.parse(a.at) - Date.parse(b.at),
    ),
  ];
  if (one.finished_at === null) {
    const text = one.state === 'queued' ? 'waits to be started' : 'is being torn down';
    points.push({
      key: 'now',
      at: null,
      text,
      look: 'wait',
      detail: `given up ${soon(one.deadline)}, if it has not ended by then`,
    });
    return points;
  }
  const { word, look }: Look = OPERATION_STATES[one.state];
  points.push({ key: 'ended', at: one.finished_at, text: word, look, detail: inWords(one) });
  return points;
}

function inWords({ counts }: OperationRecord): string {
  const parts = [
    counts.removed > 0 && `${figure(counts.removed)} removed`,
    counts.absent > 0 && `${figure(counts.absent)} not there`,
    counts.failed > 0 && `${figure(counts.failed)} failed`,
    counts.pending > 0 && `${figure(counts.pending)} not known`,
  ];
  return parts.filter(Boolean).join(', ');
}

/** `the agent said at 2026-…Z: removing, 3 of 5 deckies done`. */
const SAID = /^the agent said at (\S+Z): (.*)$/;

function saw(one: OperationRecord): void {
  const [, at, step] = SAID.exec(one.waiting_for?.detail ?? '') ?? [];
  if (at === undefined || step === undefined) return;
  sawStep(one.operation_id, { at, text: step === 'started' ? STARTED : `its agent: ${step}` });
}

function Outcomes({ one, shards }: { one: OperationRecord; shards: readonly OperationShard[] | undefined }) {
  const { removed, absent, failed, pending } = one.counts;
  const all = removed + absent + failed + pending;
  return (
    <section class="card" aria-labelledby="outcomes">
      <div class="card-head">
        <h2 id="outcomes">Deckies</h2>
        <span class="muted number">
          {figure(removed + absent)} of {figure(all)} gone
        </span>
      </div>
      {all === 0 && <Empty title="None was on the record.">Its agent removes what it finds all the same.</Empty>}
      {shards === undefined && all > 0 && <Loading what="its deckies" />}
      <ul class="list outcomes">
        {shards?.map((shard) => (
          <li key={shard.decky_id} class="item">
            <State of={OUTCOMES[shard.outcome]} />
            <div class="item-text">
              <span class="id">{shard.decky_id}</span>
              {shard.error !== null && <p class="error">{shard.error}</p>}
            </div>
          </li>
        ))}
      </ul>
      {shards !== undefined && shards.length < all && (
        <p class="card-more muted">These are the first {figure(shards.length)}; failed ones come first.</p>
      )}
    </section>
  );
}

function Facts({ one }: { one: OperationRecord }) {
  return (
    <dl class="facts card across">
      <Fact name="Host">
        <a href={link('deckies', { host: one.host_uuid })}>{one.host_name}</a>
      </Fact>
      <Fact name="Asked by">{one.requested_by}</Fact>
      <Fact name="Reason">{one.reason ?? '—'}</Fact>
      <Fact name="Deadline">{time(one.deadline, now.value)}</Fact>
      <Fact name="Operation">
        <span class="id">{one.operation_id}</span>
      </Fact>
    </dl>
  );
}
