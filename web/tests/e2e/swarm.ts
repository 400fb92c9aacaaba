// A swarm for a test: a NATS server, a controller and whatever agents it asks for, on free ports and in a folder of its own.

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { connect, credsAuthenticator, type ConnectionOptions, type NatsConnection } from '@nats-io/transport-node';
import { FakeAgent } from './fake-agent';
import { Program, until } from './processes';
import { freePort, Proxy } from './proxy';

const run = promisify(execFile);

const repository = resolve(process.env['SCUTTLE_REPO'] ?? join(import.meta.dirname, '../../..'));
const binaries = resolve(process.env['SCUTTLE_BIN_DIR'] ?? join(repository, 'target/debug'));
const natsServer = process.env['SCUTTLE_NATS_SERVER'] ?? 'nats-server';

export type User = 'operator' | 'viewer' | 'agents' | 'controller';

export const password = (user: User) => `pw${user}`;

/** How programs and people come in. */
interface Bus {
  readonly controller: Record<string, string>;
  login(user: User): ConnectionOptions;
}

export class Swarm {
  readonly dir: string;
  readonly proxy: Proxy;
  readonly natsUrl: string;
  readonly #bus: Bus;
  #controller: Program | undefined;
  #page = '';
  readonly #programs: Program[];
  readonly #connections = new Map<User, NatsConnection>();

  private constructor(dir: string, proxy: Proxy, natsUrl: string, server: Program, bus: Bus) {
    this.dir = dir;
    this.proxy = proxy;
    this.natsUrl = natsUrl;
    this.#programs = [server];
    this.#bus = bus;
  }

  /** With nats.conf, and a password for each user. */
  static async start(): Promise<Swarm> {
    const dir = await mkdtemp(join(tmpdir(), 'scuttle-web-'));
    const env = {
      SCUTTLE_WS_PORT: '-1',
      SCUTTLE_CONTROLLER_PASSWORD: password('controller'),
      SCUTTLE_AGENT_PASSWORD: password('agents'),
      SCUTTLE_OPERATOR_PASSWORD: password('operator'),
      SCUTTLE_VIEWER_PASSWORD: password('viewer'),
    };
    const args = ['-c', join(repository, 'nats.conf'), '-sd', join(dir, 'jetstream')];
    return await Swarm.#started(dir, args, env, {
      controller: { SCUTTLE_NATS_USER: 'controller', SCUTTLE_NATS_PASSWORD: password('controller') },
      login: (user) => ({ user, pass: password(user) }),
    });
  }

  /** As `scuttle init` makes it, where everybody has a credentials file. */
  static async startWithCreds(): Promise<Swarm> {
    const dir = await mkdtemp(join(tmpdir(), 'scuttle-web-'));
    const bus = join(dir, 'bus');
    const scuttle = (...args: string[]) => run(join(binaries, 'scuttle'), [...args, '--dir', bus], { cwd: dir });
    await scuttle('init', '--websocket-port', `${await freePort()}`);
    for (const role of ['operator', 'viewer']) {
      await scuttle('user', 'add', role, '--role', role, '--out', join(dir, `${role}.creds`));
    }
    const controller = join(bus, 'creds/controller.creds');
    return await Swarm.#started(
      dir,
      ['-c', join(bus, 'server/nats-server.conf')],
      {},
      {
        controller: { SCUTTLE_NATS_CREDS: controller },
        login: (user) => ({ authenticator: credsAuthenticator(readFileSync(join(dir, `${user}.creds`))) }),
      },
    );
  }

  /** The credentials file of an operator or viewer, where they have one. */
  creds(user: 'operator' | 'viewer'): string {
    return join(this.dir, `${user}.creds`);
  }

  static async #started(dir: string, args: string[], env: Record<string, string>, bus: Bus): Promise<Swarm> {
    const ports = ['-p', '-1', '--ports_file_dir', dir];
    const server = new Program('nats-server', natsServer, [...args, ...ports], env, dir);
    try {
      const { nats, websocket } = await until('nats-server writes its ports', async () => {
        const text = await readFile(join(dir, `nats-server_${server.pid}.ports`), 'utf8').catch(() => '');
        return text === '' ? undefined : (JSON.parse(text) as { nats: string[]; websocket: string[] });
      });
      const proxy = await Proxy.to(Number(new URL(websocket[0]!).port));
      const swarm = new Swarm(dir, proxy, nats[0]!, server, bus);
      await swarm.startController();
      return swarm;
    } catch (error) {
      // Nobody has it yet who would stop it.
      await server.stop();
      await rm(dir, { recursive: true, force: true });
      throw error;
    }
  }

  async startController(): Promise<void> {
    const args = ['--nats-url', this.natsUrl, '--data-dir', join(this.dir, 'data')];
    args.push('--http', '127.0.0.1:0', '--web-nats-url', this.proxy.url);
    const path = join(binaries, 'scuttle-controller');
    this.#controller = new Program('controller', path, args, this.#bus.controller, this.dir);
    const operator = await this.as('operator');
    await until('the controller answers', () =>
      operator.request('swarm.hosts.list', '{}', { timeout: 1_000 }).then(
        () => true,
        () => undefined,
      ),
    );
    if (this.#page !== '') return;
    this.#page = (await this.#controller.says(/the page is at (http:\/\/127\.0\.0\.1:\d+\/)/))[1]!;
  }

  async stopController(): Promise<void> {
    await this.#controller?.stop();
  }

  /** The page's address. */
  get page(): string {
    return this.#page;
  }

  /** A connection as this user. */
  async as(user: User): Promise<NatsConnection> {
    const known = this.#connections.get(user);
    if (known !== undefined) return known;
    const made = await connect({ servers: this.natsUrl, ...this.#bus.login(user) });
    this.#connections.set(user, made);
    return made;
  }

  async ask<A>(subject: string, request: object): Promise<A> {
    const answer = await (await this.as('operator')).request(subject, JSON.stringify(request), { timeout: 10_000 });
    const refused = answer.headers?.get('Nats-Service-Error');
    if (refused) throw new Error(`${subject} was refused: ${refused}`);
    return answer.json<A>();
  }

  /** Simulated agents, with all deckies on the record. */
  async simulate(hosts: number, deckies: number, ...more: string[]): Promise<Program> {
    const args = [
      '--nats-url',
      this.natsUrl,
      '--enroll',
      '--hosts',
      `${hosts}`,
      '--deckies-per-host',
      `${deckies}`,
      ...more,
    ];
    const env = {
      SCUTTLE_NATS_USER: 'agents',
      SCUTTLE_NATS_PASSWORD: password('agents'),
      SCUTTLE_OPERATOR_USER: 'operator',
      SCUTTLE_OPERATOR_PASSWORD: password('operator'),
    };
    const agents = new Program('agents', join(binaries, 'scuttle-agent-sim'), args, env, this.dir);
    this.#programs.push(agents);
    await agents.says(/^ready: /m);
    return agents;
  }

  /** An agent that does what the test says, of a host with these deckies. */
  async agent(host: string, deckies: readonly string[]): Promise<FakeAgent> {
    await this.ask('swarm.hosts.enroll', { name: host, host_uuid: host });
    const agent = new FakeAgent(await this.as('agents'), host);
    await agent.report(deckies);
    return agent;
  }

  async stop(): Promise<void> {
    for (const connection of this.#connections.values()) await connection.close();
    await this.#controller?.stop();
    for (const program of this.#programs.reverse()) await program.stop();
    await this.proxy.stop();
    await rm(this.dir, { recursive: true, force: true });
  }
}
