// A fake agent of one host. It does nothing by itself: the test decides what it reports and how its teardowns end.

import { randomBytes } from 'node:crypto';
import type { NatsConnection, Subscription } from '@nats-io/transport-node';
import type { Heartbeat, TeardownCommand, TeardownProgress, TeardownResult } from '../../src/wire';

/** The announced heartbeat interval. It is long, so that one heartbeat keeps the host online for a whole test. */
const INTERVAL_MS = 60_000;

export class FakeAgent {
  readonly host: string;
  readonly #nc: NatsConnection;
  readonly #boot = uuid7();
  #sequence = 0;
  readonly #commands: AsyncIterator<TeardownCommand>;

  constructor(nc: NatsConnection, host: string) {
    this.host = host;
    this.#nc = nc;
    this.#commands = firstCommands(nc.subscribe(`agent.${host}.commands`));
  }

  /** Sends a heartbeat with these deckies, all of them running. */
  async sendHeartbeat(deckies: readonly string[], fields: Partial<Heartbeat> = {}): Promise<void> {
    await this.#request('heartbeat', {
      type: 'scuttle.v1.heartbeat',
      host_uuid: this.host,
      agent_version: '0.1.0',
      boot_id: this.#boot,
      sequence: (this.#sequence += 1),
      interval_ms: INTERVAL_MS,
      page: 1,
      pages: 1,
      shards: deckies.map((decky_id, index) => ({
        decky_id,
        state: 'running',
        services: index % 2 === 0 ? ['ssh'] : ['http', 'smb'],
        decky_ip: `10.0.0.${index + 1}`,
        labels: {},
      })),
      ...fields,
    } satisfies Heartbeat);
  }

  /** Returns the next teardown command. */
  async nextCommand(): Promise<TeardownCommand> {
    const { value } = await this.#commands.next();
    return value as TeardownCommand;
  }

  sendProgress(command: TeardownCommand, step: TeardownProgress['step'], done?: number, total?: number): void {
    const subject = `agent.${this.host}.progress`;
    const progress: TeardownProgress = {
      type: 'scuttle.v1.teardown_progress',
      operation_id: command.operation_id,
      boot_id: this.#boot,
      step,
      ...(done === undefined ? {} : { done, total: total ?? done }),
    };
    this.#nc.publish(subject, JSON.stringify(progress));
  }

  /** Sends the result: for each decky its error, or null if it was removed. */
  async sendResult(command: TeardownCommand, deckies: Record<string, string | null>): Promise<void> {
    const failed = Object.values(deckies).filter((error) => error !== null);
    const now = new Date().toISOString();
    await this.#request('results', {
      type: 'scuttle.v1.teardown_result',
      operation_id: command.operation_id,
      host_uuid: this.host,
      boot_id: this.#boot,
      sequence: (this.#sequence += 1),
      outcome: failed.length > 0 ? 'failed' : 'succeeded',
      error: failed[0] ?? null,
      shards: Object.entries(deckies).map(([decky_id, error]) => ({
        decky_id,
        outcome: error === null ? 'removed' : 'failed',
        error,
      })),
      started_at: now,
      finished_at: now,
    } satisfies TeardownResult);
  }

  async #request(channel: 'heartbeat' | 'results', report: object): Promise<void> {
    const reply = await this.#nc.request(`agent.${this.host}.${channel}`, JSON.stringify(report), { timeout: 10_000 });
    const error = reply.headers?.get('Nats-Service-Error');
    if (error) throw new Error(`the ${channel} of ${this.host} was rejected: ${error}`);
  }
}

/** Yields the first command of each operation and skips its repeats. */
async function* firstCommands(commands: Subscription): AsyncGenerator<TeardownCommand, void> {
  const known = new Set<string>();
  for await (const message of commands) {
    const command = message.json<TeardownCommand>();
    if (command.type !== 'scuttle.v1.teardown_command' || known.has(command.operation_id)) continue;
    known.add(command.operation_id);
    yield command;
  }
}

/** Returns a UUIDv7: later ones sort after earlier ones. */
function uuid7(): string {
  const time = Date.now().toString(16).padStart(12, '0');
  const random = randomBytes(10).toString('hex');
  const variant = (8 + (parseInt(random[3]!, 16) % 4)).toString(16);
  return `${time.slice(0, 8)}-${time.slice(8)}-7${random.slice(0, 3)}-${variant}${random.slice(4, 7)}-${random.slice(7, 19)}`;
}
