// Before a whole host goes: what would go, and the last question.

import { signal, useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { Refused } from '../bus';
import { asking, disarm, plan, refusals, teardownHost } from '../requests';
import { session } from '../session';
import { count, RANK, SHARD_STATES } from '../words';
import type { HostRecord, TeardownPlan } from '../wire';
import { Loading, Notice } from './notice';
import { State } from './state';
import { Acting, ArmedButton, Progress } from './teardown-button';

/** The host that is asked about. */
const asked = signal<HostRecord | undefined>(undefined);

export function HostTeardownButton({ host }: { host: HostRecord }) {
  const open = session.value?.swarm.openWhole.value.get(host.host_uuid);
  if (open !== undefined) return <Progress of={open} />;
  if (asking.value.has(host.host_uuid)) return <Acting name={host.host_uuid}>{null}</Acting>;
  if (session.value?.role.value !== 'operator') return null;
  return (
    <button
      type="button"
      class="button danger ghost"
      aria-label={`Tear down all of ${host.name}: show what would go`}
      disabled={session.value.link.value === 'lost'}
      onClick={() => (asked.value = host)}
    >
      Tear down…
    </button>
  );
}

export function HostDialog() {
  const host = asked.value;
  return host === undefined ? null : <Dialog key={host.host_uuid} host={host} />;
}

function Dialog({ host }: { host: HostRecord }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const found = useSignal<TeardownPlan | undefined>(undefined);
  const trouble = useSignal<Refused | undefined>(undefined);
  const changed = useSignal(false);
  const reason = useSignal('');
  const name = host.host_uuid;

  const look = async () => {
    trouble.value = undefined;
    try {
      found.value = await plan(host.host_uuid);
    } catch (error) {
      trouble.value = error as Refused;
    }
  };
  const close = () => {
    disarm(name);
    asked.value = undefined;
  };
  const commit = async () => {
    changed.value = false;
    const refused = await teardownHost(host.host_uuid, found.value!.plan, reason.value);
    if (refused === undefined) return close();
    if (refused.code !== 'plan_changed') return;
    changed.value = true;
    const left = new Map(refusals.value);
    left.delete(name);
    refusals.value = left;
    await look();
  };

  useEffect(() => {
    dialog.current?.showModal();
    void look();
  }, []);

  const targets = [...(found.value?.targets ?? [])].sort((a, b) => RANK[a.state] - RANK[b.state]);
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby="dialog-title" onClose={close}>
      <h2 id="dialog-title">Tear down all of {host.name}?</h2>
      {changed.value && (
        <Notice
          look="warn"
          title="What runs there has changed meanwhile."
          text="Nothing was torn down. This is what would go now."
        />
      )}
      {trouble.value && <Notice look="alarm" title="What would go cannot be told." text={trouble.value.message} />}
      {found.value === undefined ? (
        trouble.value === undefined && <Loading what="what would go" />
      ) : (
        <>
          <p>
            {targets.length === 0
              ? 'No decky of it is on the record. Its agent still removes what it finds.'
              : `${count(targets.length, 'decky', 'deckies')} would go, with their networks. This cannot be undone.`}
          </p>
          <ul class="targets" tabIndex={0} aria-label="What would go">
            {targets.map((one) => (
              <li key={one.decky_id}>
                <span class="id">{one.decky_id}</span>
                <State of={SHARD_STATES[one.state]} plain />
              </li>
            ))}
          </ul>
          <label class="field">
            <span>
              Reason <small class="muted">(optional, kept with the operation)</small>
            </span>
            <input
              maxLength={512}
              value={reason.value}
              onInput={(event) => (reason.value = event.currentTarget.value)}
            />
          </label>
        </>
      )}
      <div class="dialog-foot">
        <button type="button" class="button" onClick={() => dialog.current?.close()}>
          Keep it
        </button>
        {trouble.value !== undefined && (
          <button type="button" class="button" onClick={() => void look()}>
            Look again
          </button>
        )}
        {found.value !== undefined && (
          <Acting name={name}>
            <ArmedButton
              name={name}
              verb={targets.length === 0 ? 'Tear down' : `Tear down ${count(targets.length, 'decky', 'deckies')}`}
              what={`on ${host.name}`}
              commit={() => void commit()}
              solid
            />
          </Acting>
        )}
      </div>
    </dialog>
  );
}
