// A swarm for one test: a NATS server, a controller, and the agents that the test starts. It uses free ports and a
// temporary folder.

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

/** The credentials of programs and users. */
interface Access {
  readonly controller: Record<string, string>;
  login(user: User): ConnectionOptions;
}

export class Swarm {
  readonly dir: string;
  readonly proxy: Proxy;
  /** A second way for the page to reach the server, which only `startWithSpare` gives to the page. */
  readonly spare: Proxy | undefined;
  readonly natsUrl: string;
  readonly #access: Access;
  #controller: Program | undefined;
  #page = '';
  readonly #programs: Program[];
  readonly #connections = new Map<User, NatsConnection>();

  private constructor(
    dir: string,
    [proxy, spare]: readonly [Proxy, Proxy | undefined],
    natsUrl: string,
    server: Program,
    access: Access,
  ) {
    this.dir = dir;
    this.proxy = proxy;
    this.spare = spare;
    this.natsUrl = natsUrl;
    this.#programs = [server];
    this.#access = access;
  }

  /** Starts a swarm whose page has two addresses of NATS servers. */
  static async startWithSpare(): Promise<Swarm> {
    return await Swarm.start(true);
  }

  /** Starts a server with nats.conf and a password for each user. */
  static async start(withSpare = false): Promise<Swarm> {
    const dir = await mkdtemp(join(tmpdir(), 'scuttle-web-'));
    const env = {
      SCUTTLE_WS_PORT: '-1',
      SCUTTLE_CONTROLLER_PASSWORD: password('controller'),
      SCUTTLE_AGENT_PASSWORD: password('agents'),
      SCUTTLE_OPERATOR_PASSWORD: password('operator'),
      SCUTTLE_VIEWER_PASSWORD: password('viewer'),
    };
    const args = ['-c', join(repository, 'nats.conf'), '-sd', join(dir, 'jetstream')];
    const access: Access = {
      controller: { SCUTTLE_NATS_USER: 'controller', SCUTTLE_NATS_PASSWORD: password('controller') },
      login: (user) => ({ user, pass: password(user) }),
    };
    return await Swarm.#startServer(dir, args, env, access, withSpare);
  }

  /** Starts a server that `scuttle init` configured, with a credentials file for each user. */
  static async startWithCreds(): Promise<Swarm> {
    const dir = await mkdtemp(join(tmpdir(), 'scuttle-web-'));
    const config = join(dir, 'config');
    const scuttle = (...args: string[]) => run(join(binaries, 'scuttle'), [...args, '--dir', config], { cwd: dir });
    await scuttle('init', '--websocket-port', `${await freePort()}`);
    for (const role of ['operator', 'viewer']) {
      await scuttle('user', 'add', role, '--role', role, '--out', join(dir, `${role}.creds`));
    }
    const controller = join(config, 'creds/controller.creds');
    return await Swarm.#startServer(
      dir,
      ['-c', join(config, 'server/nats-server.conf')],
      {},
      {
        controller: { SCUTTLE_NATS_CREDS: controller },
        login: (user) => ({ authenticator: credsAuthenticator(readFileSync(join(dir, `${user}.creds`))) }),
      },
    );
  }

  /** The credentials file of a user. Only after `startWithCreds`. */
  creds(user: string): string {
    return join(this.dir, `${user}.creds`);
  }

  /** Adds an operator who may tear down on one host only. Only after `startWithCreds`. */
  async addLimitedOperator(user: string, host: string): Promise<void> {
    const limited = ['user', 'add', user, '--role', 'operator', '--host', host, '--out', this.creds(user)];
    const server = ['--dir', join(this.dir, 'config'), '--nats-url', this.natsUrl];
    await run(join(binaries, 'scuttle'), [...limited, ...server], { cwd: this.dir });
  }

  static async #startServer(
    dir: string,
    args: string[],
    env: Record<string, string>,
    access: Access,
    withSpare = false,
  ): Promise<Swarm> {
    const ports = ['-p', '-1', '--ports_file_dir', dir];
    const server = new Program('nats-server', natsServer, [...args, ...ports], env, dir);
    try {
      const { nats, websocket } = await until('nats-server writes its ports file', async () => {
        const text = await readFile(join(dir, `nats-server_${server.pid}.ports`), 'utf8').catch(() => '');
        return text === '' ? undefined : (JSON.parse(text) as { nats: string[]; websocket: string[] });
      });
      const port = Number(new URL(websocket[0]!).port);
      const spare = withSpare ? await Proxy.start(port) : undefined;
      const swarm = new Swarm(dir, [await Proxy.start(port), spare], nats[0]!, server, access);
      await swarm.startController();
      return swarm;
    } catch (error) {
      // The caller has no swarm to stop yet.
      await server.stop();
      await rm(dir, { recursive: true, force: true });
      throw error;
    }
  }

  async startController(): Promise<void> {
    const args = ['--nats-url', this.natsUrl, '--data-dir', join(this.dir, 'data')];
    args.push('--http', '127.0.0.1:0', '--web-nats-url', this.webSocketUrls.join(','));
    const path = join(binaries, 'scuttle-controller');
    this.#controller = new Program('controller', path, args, this.#access.controller, this.dir);
    const operator = await this.connectAs('operator');
    await until('the controller replies', () =>
      operator.request('swarm.hosts.list', '{}', { timeout: 1_000 }).then(
        () => true,
        () => undefined,
      ),
    );
    if (this.#page !== '') return;
    this.#page = (await this.#controller.waitForLog(/serving the page at (http:\/\/127\.0\.0\.1:\d+\/)/))[1]!;
  }

  /** The addresses of NATS servers that the page has. */
  get webSocketUrls(): string[] {
    return [this.proxy, this.spare].flatMap((proxy) => proxy?.url ?? []);
  }

  async stopController(): Promise<void> {
    await this.#controller?.stop();
  }

  /** The address of the page. */
  get page(): string {
    return this.#page;
  }

  /** Returns a connection of this user. */
  async connectAs(user: User): Promise<NatsConnection> {
    const existing = this.#connections.get(user);
    if (existing !== undefined) return existing;
    const options = { servers: this.natsUrl, inboxPrefix: `_INBOX.${user}` };
    const connection = await connect({ ...options, ...this.#access.login(user) });
    this.#connections.set(user, connection);
    return connection;
  }

  async request<R>(subject: string, request: object): Promise<R> {
    const reply = await (
      await this.connectAs('operator')
    ).request(subject, JSON.stringify(request), { timeout: 10_000 });
    const error = reply.headers?.get('Nats-Service-Error');
    if (error) throw new Error(`${subject} was rejected: ${error}`);
    return reply.json<R>();
  }

  /** Starts simulated agents, and returns when all their deckies are on record. */
  async startSimulatedAgents(hosts: number, deckies: number, ...more: string[]): Promise<Program> {
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
    await agents.waitForLog(/^ready: /m);
    return agents;
  }

  /** Enrolls a host with these deckies, and returns its fake agent, which the test controls. */
  async startAgent(host: string, deckies: readonly string[]): Promise<FakeAgent> {
    await this.request('swarm.hosts.enroll', { name: host, host_uuid: host });
    const agent = new FakeAgent(await this.connectAs('agents'), host);
    await agent.sendHeartbeat(deckies);
    return agent;
  }

  async stop(): Promise<void> {
    for (const connection of this.#connections.values()) await connection.close();
    await this.#controller?.stop();
    for (const program of this.#programs.reverse()) await program.stop();
    await this.proxy.stop();
    await this.spare?.stop();
    await rm(this.dir, { recursive: true, force: true });
  }
}
