// The details of one decky, next to the list.

import { hrefTo, updateFilter } from '../../state/route';
import { now, type Session } from '../../state/session';
import type { ShardRecord } from '../../wire';
import { explainError, formatAge, formatTime } from '../../text/format';
import { OPERATION_STATES, SHARD_STATES } from '../../text/labels';
import { Fact } from '../components/fact';
import { Notice } from '../components/notice';
import { StateBadge } from '../components/state-badge';
import { TeardownButton } from '../components/teardown-button';

export function DeckyPanel({ session, shard }: { session: Session; shard: ShardRecord }) {
  const operation = shard.operation_id === null ? undefined : session.swarm.operation(shard.operation_id);
  const labels = Object.entries(shard.labels);
  return (
    <aside class="panel card" aria-label={`Decky ${shard.decky_id} on ${shard.host_name}`}>
      <div class="panel-head">
        <div>
          <h2>{shard.decky_id}</h2>
          <p class="muted">
            on <a href={hrefTo('deckies', { host: shard.host_uuid })}>{shard.host_name}</a>
          </p>
        </div>
        <button type="button" class="button quiet icon" aria-label="Close" onClick={() => updateFilter({ decky: '' })}>
          ×
        </button>
      </div>
      <div class="panel-state">
        <StateBadge badge={SHARD_STATES[shard.state]} isProtected={shard.protected} />
        <span class="grow" />
        <TeardownButton shard={shard} />
      </div>
      {shard.last_error !== null && <Notice tone="alarm" title="Problem" text={explainError(shard.last_error)} />}
      {shard.protected && (
        <Notice
          tone="warn"
          title="Protected"
          text="A teardown is rejected. Lift the protection with `scuttle unprotect`, or use `scuttle teardown --override-protection`."
        />
      )}
      <dl class="facts">
        <Fact name="Services">{shard.services.join(', ') || '—'}</Fact>
        <Fact name="Address">{shard.decky_ip ?? '—'}</Fact>
        {labels.length > 0 && <Fact name="Labels">{labels.map(([key, value]) => `${key}=${value}`).join(', ')}</Fact>}
        <Fact name="Changed">
          {formatTime(shard.updated_at, now.value)}{' '}
          <span class="muted">({formatAge(shard.updated_at, now.value)})</span>
        </Fact>
        <Fact name="Operation">
          {shard.operation_id === null ? (
            'none'
          ) : (
            <a href={hrefTo('op', {}, shard.operation_id)}>
              {operation === undefined ? shard.operation_id : `teardown, ${OPERATION_STATES[operation.state].label}`}
            </a>
          )}
        </Fact>
        <Fact name="Host ID">
          <span class="id">{shard.host_uuid}</span>
        </Fact>
      </dl>
    </aside>
  );
}
