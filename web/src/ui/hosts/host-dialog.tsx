// The dialog that confirms the teardown of a whole host: it shows the plan, asks for a reason, and sends the request.

import { signal, useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { RequestError } from '../../nats/client';
import { disarm, dismissRejection, pendingRequests, requestHostTeardown, requestPlan } from '../../state/requests';
import { mayTearDown, session } from '../../state/session';
import { formatCount } from '../../text/format';
import { SHARD_RANK, SHARD_STATES } from '../../text/labels';
import type { HostRecord, TeardownPlan } from '../../wire';
import { Loading, Notice } from '../components/notice';
import { StateBadge } from '../components/state-badge';
import { ActionSlot, ArmedButton, Progress } from '../components/teardown-button';

/** The host that the dialog is open for. */
const dialogHost = signal<HostRecord | undefined>(undefined);

export function HostTeardownButton({ host }: { host: HostRecord }) {
  const open = session.value?.swarm.openHostOperations.value.get(host.host_uuid);
  if (open !== undefined) return <Progress operation={open} />;
  if (pendingRequests.value.has(host.host_uuid)) {
    return (
      <ActionSlot requestKey={host.host_uuid} host={host.host_uuid}>
        {null}
      </ActionSlot>
    );
  }
  if (!mayTearDown(host.host_uuid)) return null;
  return (
    <button
      type="button"
      class="button danger ghost"
      aria-label={`Tear down all of ${host.name}: show the plan`}
      disabled={session.value?.connectionState.value === 'disconnected'}
      onClick={() => (dialogHost.value = host)}
    >
      Tear down…
    </button>
  );
}

export function HostDialog() {
  const host = dialogHost.value;
  return host === undefined ? null : <Dialog key={host.host_uuid} host={host} />;
}

function Dialog({ host }: { host: HostRecord }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const plan = useSignal<TeardownPlan | undefined>(undefined);
  const planError = useSignal<RequestError | undefined>(undefined);
  const planChanged = useSignal(false);
  const reason = useSignal('');
  const key = host.host_uuid;

  const loadPlan = async () => {
    planError.value = undefined;
    try {
      plan.value = await requestPlan(host.host_uuid);
    } catch (error) {
      planError.value = error as RequestError;
    }
  };
  const close = () => {
    disarm(key);
    dialogHost.value = undefined;
  };
  const commit = async () => {
    planChanged.value = false;
    const error = await requestHostTeardown(host.host_uuid, plan.value!.plan, reason.value);
    if (error === undefined) return close();
    if (error.code !== 'plan_changed') return;
    planChanged.value = true;
    dismissRejection(key);
    await loadPlan();
  };

  useEffect(() => {
    dialog.current?.showModal();
    void loadPlan();
  }, []);

  const targets = [...(plan.value?.targets ?? [])].sort((a, b) => SHARD_RANK[a.state] - SHARD_RANK[b.state]);
  // The plan lists only some targets of a large host.
  const total = plan.value?.total ?? 0;
  const isProtected = host.protected || targets.some((target) => target.protected);
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby="dialog-title" onClose={close}>
      <h2 id="dialog-title">Tear down all of {host.name}?</h2>
      {planChanged.value && (
        <Notice
          tone="warn"
          title="The deckies on this host have changed."
          text="Nothing was torn down. This is the new plan."
        />
      )}
      {planError.value && <Notice tone="alarm" title="Cannot show the plan." text={planError.value.message} />}
      {plan.value !== undefined && isProtected && (
        <Notice
          tone="warn"
          title={host.protected ? 'This host is protected.' : 'Some of the deckies are protected.'}
          text="The teardown would be rejected. Lift the protection with `scuttle unprotect`, or use `scuttle teardown --override-protection`."
        />
      )}
      {plan.value === undefined ? (
        planError.value === undefined && <Loading what="the plan" />
      ) : (
        <>
          {host.name !== host.host_uuid && (
            <p class="muted">
              Host ID: <span class="id">{host.host_uuid}</span>
            </p>
          )}
          <p>
            {total === 0
              ? 'This host has no deckies on record. Its agent still removes whatever it finds.'
              : `${formatCount(total, 'decky', 'deckies')} will be torn down, with their networks. This cannot be undone.`}
          </p>
          <ul class="targets" tabIndex={0} aria-label="Deckies to tear down">
            {targets.map((target) => (
              <li key={target.decky_id}>
                <span class="id">{target.decky_id}</span>
                <StateBadge badge={SHARD_STATES[target.state]} plain isProtected={target.protected} />
              </li>
            ))}
            {total > targets.length && (
              <li class="muted">… and {formatCount(total - targets.length, 'more decky', 'more deckies')}</li>
            )}
          </ul>
          <label class="field">
            <span>
              Reason <small class="muted">(optional, stored with the operation)</small>
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
          Cancel
        </button>
        {planError.value !== undefined && (
          <button type="button" class="button" onClick={() => void loadPlan()}>
            Try again
          </button>
        )}
        {plan.value !== undefined && !isProtected && (
          <ActionSlot requestKey={key} host={key}>
            <ArmedButton
              requestKey={key}
              verb={total === 0 ? 'Tear down' : `Tear down ${formatCount(total, 'decky', 'deckies')}`}
              target={`on ${host.name}`}
              commit={() => void commit()}
              solid
            />
          </ActionSlot>
        )}
      </div>
    </dialog>
  );
}
