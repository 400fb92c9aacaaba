// The button that tears a decky down: it arms on the first click and commits on the second. Where it was, its operation's
// progress is seen, and why it was refused.

import { operator, session } from '../session';
import { armed, asking, dismiss, press, refusals, retry, teardown } from '../requests';
import { link } from '../route';
import { shardKey } from '../swarm';
import { count, figure, OPERATION_STATES } from '../words';
import type { OperationRecord, ShardRecord } from '../wire';

export function TeardownButton({ shard }: { shard: ShardRecord }) {
  const key = shardKey(shard);
  const open = session.value?.swarm.openOn(shard);
  if (open !== undefined && shard.state === 'tearing_down') return <Progress of={open} />;
  const verb = shard.state === 'teardown_failed' ? 'Retry' : 'Tear down';
  return (
    <Acting name={key}>
      <ArmedButton
        name={key}
        verb={verb}
        what={`${shard.decky_id} on ${shard.host_name}`}
        commit={() => void teardown(shard)}
      />
    </Acting>
  );
}

interface ArmedProps {
  name: string;
  verb: string;
  /** What it is for, for who does not see where it stands. */
  what: string;
  commit: () => void;
  solid?: boolean;
}

export function ArmedButton({ name, verb, what, commit, solid = false }: ArmedProps) {
  const on = armed.value.has(name);
  const looks = on ? 'armed' : solid ? 'danger' : 'danger ghost';
  return (
    <button
      type="button"
      class={`button ${looks}`}
      aria-label={on ? `Confirm: ${verb} ${what}` : `${verb} ${what}`}
      disabled={session.value?.link.value === 'lost'}
      // A double click is a slip, and no second thought.
      onClick={(event) => event.detail < 2 && press(name, commit)}
    >
      {on ? 'Confirm' : verb}
    </button>
  );
}

interface RetryProps {
  shards: readonly ShardRecord[];
  /** Which of the places that offer it: each is armed by itself. */
  where: string;
}

/** Asks again for those of these deckies that could not be torn down. */
export function RetryButton({ shards, where }: RetryProps) {
  const failed = shards.filter((one) => one.state === 'teardown_failed');
  const [first] = failed;
  if (first === undefined || !operator()) return null;
  const refused = failed.map(shardKey).find((key) => refusals.value.has(key));
  const name = `retry ${where} ${first.host_uuid}`;
  return (
    <span class="acting">
      {refused !== undefined && <Refusal name={refused} text={refusals.value.get(refused)!} />}
      <ArmedButton
        name={name}
        verb={failed.length === 1 ? 'Retry' : `Retry ${figure(failed.length)}`}
        what={`${count(failed.length, 'failed decky', 'failed deckies')} on ${first.host_name}`}
        commit={() => retry(failed)}
      />
    </span>
  );
}

function Refusal({ name, text }: { name: string; text: string }) {
  return (
    <span class="refusal look-alarm" role="alert" title={text}>
      <span class="sign" aria-hidden="true" />
      <span class="refusal-text">{text}</span>
      <button type="button" class="button quiet icon small" aria-label="Dismiss" onClick={() => dismiss(name)}>
        ×
      </button>
    </span>
  );
}

/** What stands for a button while its request is on its way or was refused; nothing for who may not ask. */
export function Acting({ name, children }: { name: string; children: preact.ComponentChildren }) {
  if (!operator()) return null;
  if (asking.value.has(name)) {
    return (
      <span class="progress" role="status">
        <span class="progress-track" aria-hidden="true" />
        asking…
      </span>
    );
  }
  const refusal = refusals.value.get(name);
  return (
    <span class="acting">
      {refusal !== undefined && <Refusal name={name} text={refusal} />}
      {children}
    </span>
  );
}

/** How far an open operation is, and the way to it. */
export function Progress({ of }: { of: OperationRecord }) {
  const { word } = OPERATION_STATES[of.state];
  const again = of.attempts > 1 && of.state === 'queued' ? `, sent ${of.attempts} ×` : '';
  return (
    <a class={`progress ${of.state}`} href={link('op', {}, of.operation_id)}>
      <span class="progress-track" aria-hidden="true" />
      {word}
      {again}
    </a>
  );
}
