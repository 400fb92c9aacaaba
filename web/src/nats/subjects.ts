// Every subject that the page uses. No other file contains one.

export const TEARDOWN = 'swarm.teardown';
export const CANCEL = 'swarm.operations.cancel';
export const GET_OPERATION = 'swarm.operations.get';

/** Where the records of each view are listed, and where their changes are broadcast. */
export const VIEWS = {
  shards: { list: 'swarm.shards.list', updated: 'shards.updated' },
  hosts: { list: 'swarm.hosts.list', updated: 'hosts.updated' },
  operations: { list: 'swarm.operations.list', updated: 'operations.updated' },
} as const;
