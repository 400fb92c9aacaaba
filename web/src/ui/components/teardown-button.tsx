// The buttons that request teardowns. A button arms on the first click and sends the request on the second. After that,
// its place shows the operation's progress, or why the request was rejected.

import type { ComponentChildren } from 'preact';
import {
  armed,
  armOrCommit,
  dismissRejection,
  pendingRequests,
  rejections,
  requestTeardown,
  retryTeardowns,
} from '../../state/requests';
import { hrefTo } from '../../state/route';
import { isOperator, mayTearDown, session } from '../../state/session';
import { shardKey } from '../../state/swarm';
import { formatCount, formatNumber } from '../../text/format';
import { OPERATION_STATES } from '../../text/labels';
import type { OperationRecord, ShardRecord } from '../../wire';

export function TeardownButton({ shard }: { shard: ShardRecord }) {
  const key = shardKey(shard);
  const open = session.value?.swarm.openOperationFor(shard);
  if (open !== undefined && shard.state === 'tearing_down') return <Progress operation={open} />;
  const verb = shard.state === 'teardown_failed' ? 'Retry' : 'Tear down';
  return (
    <ActionSlot requestKey={key} host={shard.host_uuid}>
      <ArmedButton
        requestKey={key}
        verb={verb}
        target={`${shard.decky_id} on ${shard.host_name}`}
        commit={() => void requestTeardown(shard)}
      />
    </ActionSlot>
  );
}

interface ArmedButtonProps {
  /** The key of the button's request in state/requests.ts. */
  requestKey: string;
  verb: string;
  /** Completes the accessible name, for users who do not see the button's row. */
  target: string;
  commit: () => void;
  solid?: boolean;
}

export function ArmedButton({ requestKey, verb, target, commit, solid = false }: ArmedButtonProps) {
  const isArmed = armed.value.has(requestKey);
  const style = isArmed ? 'armed' : solid ? 'danger' : 'danger ghost';
  return (
    <button
      type="button"
      class={`button ${style}`}
      aria-label={isArmed ? `Confirm: ${verb} ${target}` : `${verb} ${target}`}
      disabled={session.value?.connectionState.value === 'disconnected'}
      // A double click is an accident, not a confirmation: its second click is ignored.
      onClick={(event) => event.detail < 2 && armOrCommit(requestKey, commit)}
    >
      {isArmed ? 'Confirm' : verb}
    </button>
  );
}

interface RetryButtonProps {
  shards: readonly ShardRecord[];
  /** Names the place of the button. Buttons for the same host in different places are armed separately. */
  where: string;
}

/** Retries the failed teardowns among `shards`. */
export function RetryButton({ shards, where }: RetryButtonProps) {
  const failed = shards.filter((shard) => shard.state === 'teardown_failed');
  const [first] = failed;
  if (first === undefined || !mayTearDown(first.host_uuid)) return null;
  const rejected = failed.map(shardKey).find((key) => rejections.value.has(key));
  return (
    <span class="action">
      {rejected !== undefined && <RejectionNote requestKey={rejected} text={rejections.value.get(rejected)!} />}
      <ArmedButton
        requestKey={`retry ${where} ${first.host_uuid}`}
        verb={failed.length === 1 ? 'Retry' : `Retry ${formatNumber(failed.length)}`}
        target={`${formatCount(failed.length, 'failed decky', 'failed deckies')} on ${first.host_name}`}
        commit={() => retryTeardowns(failed)}
      />
    </span>
  );
}

function RejectionNote({ requestKey, text }: { requestKey: string; text: string }) {
  return (
    <span class="rejection tone-alarm" role="alert" title={text}>
      <span class="glyph" aria-hidden="true" />
      <span class="rejection-text">{text}</span>
      <button
        type="button"
        class="button quiet icon small"
        aria-label="Dismiss"
        onClick={() => dismissRejection(requestKey)}
      >
        ×
      </button>
    </span>
  );
}

interface ActionSlotProps {
  requestKey: string;
  /** The host of a teardown. Without a host, the button is for operators of all hosts. */
  host?: string;
  children: ComponentChildren;
}

/** Holds a button. Shows that its request is pending or was rejected, and nothing to users who may not send it. */
export function ActionSlot({ requestKey, host, children }: ActionSlotProps) {
  if (!(host === undefined ? isOperator() : mayTearDown(host))) return null;
  if (pendingRequests.value.has(requestKey)) {
    return (
      <span class="progress" role="status">
        <span class="progress-track" aria-hidden="true" />
        requesting…
      </span>
    );
  }
  const rejection = rejections.value.get(requestKey);
  return (
    <span class="action">
      {rejection !== undefined && <RejectionNote requestKey={requestKey} text={rejection} />}
      {children}
    </span>
  );
}

/** The state of an open operation, as a link to it. */
export function Progress({ operation }: { operation: OperationRecord }) {
  const resent = operation.attempts > 1 && operation.state === 'queued' ? `, sent ${operation.attempts}×` : '';
  return (
    <a class={`progress ${operation.state}`} href={hrefTo('op', {}, operation.operation_id)}>
      <span class="progress-track" aria-hidden="true" />
      {OPERATION_STATES[operation.state].label}
      {resent}
    </a>
  );
}
