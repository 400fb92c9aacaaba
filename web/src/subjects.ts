// Every subject that the page uses. Nobody else writes one.

export const TEARDOWN = 'swarm.teardown';
export const CANCEL = 'swarm.operations.cancel';
export const GET_OPERATION = 'swarm.operations.get';

/** What a view is made of: where its records are listed, and where their changes are told. */
export const VIEWS = {
  shards: { list: 'swarm.shards.list', updated: 'shards.updated' },
  hosts: { list: 'swarm.hosts.list', updated: 'hosts.updated' },
  operations: { list: 'swarm.operations.list', updated: 'operations.updated' },
} as const;
