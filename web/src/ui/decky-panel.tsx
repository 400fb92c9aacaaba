// All that is known of one decky, beside the list that it was chosen from.

import { link, refine } from '../route';
import { now, type Session } from '../session';
import type { ShardRecord } from '../wire';
import { ago, OPERATION_STATES, SHARD_STATES, time } from '../words';
import { Notice } from './notice';
import { State } from './state';
import { TeardownButton } from './teardown-button';

export function DeckyPanel({ session, shard }: { session: Session; shard: ShardRecord }) {
  const operation = shard.operation_id === null ? undefined : session.swarm.operation(shard.operation_id);
  const labels = Object.entries(shard.labels);
  return (
    <aside class="panel card" aria-label={`Decky ${shard.decky_id} on ${shard.host_name}`}>
      <div class="panel-head">
        <div>
          <h2>{shard.decky_id}</h2>
          <p class="muted">
            on <a href={link('deckies', { host: shard.host_uuid })}>{shard.host_name}</a>
          </p>
        </div>
        <button type="button" class="button quiet icon" aria-label="Close" onClick={() => refine({ decky: '' })}>
          ×
        </button>
      </div>
      <div class="panel-state">
        <State of={SHARD_STATES[shard.state]} />
        <span class="grow" />
        <TeardownButton shard={shard} />
      </div>
      {shard.last_error !== null && <Notice look="alarm" title="What went wrong" text={shard.last_error} />}
      <dl class="facts">
        <Fact name="Services">{shard.services.join(', ') || '—'}</Fact>
        <Fact name="Address">{shard.decky_ip ?? '—'}</Fact>
        {labels.length > 0 && <Fact name="Labels">{labels.map(([key, value]) => `${key}=${value}`).join(', ')}</Fact>}
        <Fact name="Changed">
          {time(shard.updated_at, now.value)} <span class="muted">({ago(shard.updated_at, now.value)})</span>
        </Fact>
        <Fact name="Operation">
          {shard.operation_id === null ? (
            'none yet'
          ) : (
            <a href={link('op', {}, shard.operation_id)}>
              {operation === undefined ? shard.operation_id : `teardown, ${OPERATION_STATES[operation.state].word}`}
            </a>
          )}
        </Fact>
        <Fact name="Host id">
          <span class="id">{shard.host_uuid}</span>
        </Fact>
      </dl>
    </aside>
  );
}

export function Fact({ name, children }: { name: string; children: preact.ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
