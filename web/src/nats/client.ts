// The connection to the NATS server: signing in, sending requests, and turning failures into messages for the user.
// The views that follow broadcasts are in follower.ts.

import {
  credsAuthenticator,
  errors,
  headers,
  usernamePasswordAuthenticator,
  wsconnect,
  type Msg,
  type NatsConnection,
} from '@nats-io/nats-core';
import { parseEscaped } from '../text/escape';
import type { ErrorCode, ErrorReplyMessage } from '../wire';
import { CANCEL, TEARDOWN } from './subjects';

/** The user's credentials. They are kept in memory only, while the page is open. */
export type Credentials = { user: string; password: string } | { creds: string };

export type Role = 'operator' | 'viewer';

/** The page's configuration, served by the controller as config.json. */
export interface Config {
  /** The WebSocket addresses of the NATS servers, separated by commas. */
  nats_url: string;
  version: string;
}

/** Why a request failed: an error code of the controller, or a failure on the way to it. */
export type RequestErrorCode = ErrorCode | 'denied' | 'no_controller' | 'no_reply' | 'disconnected';

export class RequestError extends Error {
  readonly code: RequestErrorCode;
  readonly retryAfterMs: number | undefined;

  constructor(code: RequestErrorCode, message: string, retryAfterMs?: number) {
    super(message);
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }
}

/** Why signing in failed, or why the user was signed out. */
export class SignInError extends Error {
  readonly hint: string;

  constructor(message: string, hint: string) {
    super(message);
    this.hint = hint;
  }
}

/** How long to wait for one reply. */
const REQUEST_TIMEOUT_MS = 5_000;
/** How often a change is sent, each time with the same idempotency key, before it is given up. */
const MAX_ATTEMPTS = 12;
const RETRY_DELAY_MS = 1_000;

/** Rejections that pass without the user's help. The same request can be sent again. */
const TRANSIENT: readonly RequestErrorCode[] = ['overloaded', 'shutting_down', 'not_leader'];
/** Failures after which it is unknown whether the request arrived. */
const OUTCOME_UNKNOWN: readonly RequestErrorCode[] = ['no_reply', 'disconnected'];

/** Matches a NATS credentials file: a user JWT, followed by the seed of its key. */
const CREDENTIALS_FILE = /BEGIN NATS USER JWT-+[\s\S]+BEGIN USER NKEY SEED-+/;

/** Connects to one of the servers. The connection moves to another one when its server stops. */
export async function connect(urls: readonly string[], credentials: Credentials): Promise<NatsConnection> {
  if ('creds' in credentials && !CREDENTIALS_FILE.test(credentials.creds)) {
    throw new SignInError(
      'This file is not a credentials file.',
      'Choose the .creds file that `scuttle init` or `scuttle user add` wrote for you.',
    );
  }
  const authenticator =
    'creds' in credentials
      ? credsAuthenticator(new TextEncoder().encode(credentials.creds))
      : usernamePasswordAuthenticator(credentials.user, credentials.password);
  const inboxPrefix = toInboxPrefix('creds' in credentials ? readUserName(credentials.creds) : credentials.user);
  try {
    return await wsconnect({
      servers: dialOrder(urls),
      noRandomize: true,
      authenticator,
      name: 'scuttle page',
      ...(inboxPrefix !== undefined && { inboxPrefix }),
      maxReconnectAttempts: -1,
      // Connect only to the servers that the controller names, never to servers that they advertise.
      ignoreClusterUpdates: true,
      pingInterval: 10_000,
      timeout: 8_000,
    });
  } catch (error) {
    throw toSignInError(error, urls, credentials);
  }
}

/**
 * Returns the servers in the order in which they are tried, starting with a random one to spread the pages.
 *
 * nats.js forgets a server that fails before the first connection is made. Each server is therefore listed twice, so that
 * a page that signed in while a server was stopped can still move to that server later.
 */
function dialOrder(urls: readonly string[]): string[] {
  const first = Math.floor(Math.random() * urls.length);
  const order = [...urls.slice(first), ...urls.slice(0, first)];
  return urls.length > 1 ? [...order, ...order] : order;
}

/** The prefix of the inboxes that the user's permissions allow. Without one, the default is used. */
export function toInboxPrefix(user: string | undefined): string | undefined {
  return user !== undefined && /^[\w-]+(\.[\w-]+)*$/.test(user) ? `_INBOX.${user}` : undefined;
}

/** The name in the user's JWT, which is not verified. */
export function readUserName(creds: string): string | undefined {
  const name = readClaims(creds)?.name;
  return typeof name === 'string' ? name : undefined;
}

const HOST_TAG = 'host:';

/**
 * The ids of the hosts in the tags of the user's JWT, which is not verified. An operator who is limited to hosts has such
 * tags, and the server's permissions enforce the limit.
 */
export function readHosts(credentials: Credentials): ReadonlySet<string> {
  const nats = 'creds' in credentials ? readClaims(credentials.creds)?.nats : undefined;
  const tags: unknown = (nats as { tags?: unknown } | undefined)?.tags;
  const texts = Array.isArray(tags) ? tags.filter((tag) => typeof tag === 'string') : [];
  return new Set(texts.filter((tag) => tag.startsWith(HOST_TAG)).map((tag) => tag.slice(HOST_TAG.length)));
}

function readClaims(creds: string): { name?: unknown; nats?: unknown } | undefined {
  const claims = /^[\w-]+\.([\w-]+)\.[\w-]+\s*$/m.exec(creds)?.[1];
  if (claims === undefined) return undefined;
  try {
    return JSON.parse(atob(claims.replaceAll('-', '+').replaceAll('_', '/'))) as { name?: unknown; nats?: unknown };
  } catch {
    return undefined;
  }
}

function toSignInError(error: unknown, urls: readonly string[], credentials: Credentials): SignInError {
  const text = error instanceof Error ? error.message : String(error);
  if (error instanceof errors.AuthorizationError || /authorization|authentication/i.test(text)) {
    return 'creds' in credentials
      ? new SignInError(
          'The NATS server rejected these credentials.',
          'They may be revoked, or belong to another server. An administrator issues new ones with `scuttle user add`.',
        )
      : new SignInError(
          `The NATS server rejected the user “${credentials.user}” or the password.`,
          'Check both. Enter a user and password of the NATS server, not of your computer.',
        );
  }
  return new SignInError(
    `Cannot reach a NATS server at ${urls.join(' or ')}.`,
    'Check that the server is running, and that its WebSocket listener matches the controller’s --web-nats-url.',
  );
}

/** Sends a request once. `key` makes it idempotent. Throws a `RequestError`. */
export async function sendRequest<R>(nc: NatsConnection, subject: string, body: object, key?: string): Promise<R> {
  let message: Msg;
  try {
    const keyed = headers();
    if (key !== undefined) keyed.set('Nats-Msg-Id', key);
    message = await nc.request(subject, JSON.stringify(body), { timeout: REQUEST_TIMEOUT_MS, headers: keyed });
  } catch (error) {
    throw toRequestError(error, subject);
  }
  const reply = parseEscaped<R | ErrorReplyMessage>(message.string());
  if (message.headers?.get('Nats-Service-Error-Code')) {
    const { code, message: text, retry_after_ms } = (reply as ErrorReplyMessage).error;
    throw new RequestError(code, text, retry_after_ms ?? undefined);
  }
  return reply as R;
}

/** What a user without the permission for a request may not do. */
const DENIED_ACTIONS: Readonly<Record<string, string>> = {
  [TEARDOWN]: 'tear down deckies',
  [CANCEL]: 'cancel operations',
};

function describeDenied(subject: string): string {
  const isOfHost = subject.startsWith(`${TEARDOWN}.`);
  return DENIED_ACTIONS[isOfHost ? TEARDOWN : subject] ?? `send requests on ${subject}`;
}

function toRequestError(error: unknown, subject: string): RequestError {
  // The NATS client wraps some of these errors in another error, and not others.
  const chain = [error, (error as { cause?: unknown }).cause];
  const is = (kind: new (...args: never[]) => Error) => chain.some((link) => link instanceof kind);
  if (is(errors.PermissionViolationError)) {
    const action = describeDenied(subject);
    return new RequestError('denied', `This user may not ${action}: viewers can only watch. Sign in as an operator.`);
  }
  if (is(errors.NoRespondersError)) {
    return new RequestError(
      'no_controller',
      'No controller responds. Nothing was changed. Try again when a controller is back.',
    );
  }
  if (is(errors.TimeoutError)) {
    return new RequestError('no_reply', 'No reply arrived, so it is unknown whether the request was accepted.');
  }
  return new RequestError(
    'disconnected',
    'The connection was lost before a reply arrived, so it is unknown whether the request was accepted.',
  );
}

/**
 * Sends a request that changes something, and repeats it until a reply arrives. Every repeat has the same idempotency
 * key, so the change is made at most once. Throws a `RequestError`.
 */
export async function sendChange<R>(nc: NatsConnection, subject: string, body: object): Promise<R> {
  const key = crypto.randomUUID();
  let unknown: RequestError | undefined;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await sendRequest<R>(nc, subject, body, key);
    } catch (caught) {
      const error = caught as RequestError;
      if (OUTCOME_UNKNOWN.includes(error.code)) unknown = error;
      // "No controller" means "nothing was changed" only if no earlier attempt can have arrived. Otherwise the request
      // is repeated, and when all attempts fail, the user reads that the outcome is unknown.
      const mayHaveArrived = error.code === 'no_controller' && unknown !== undefined;
      const canRetry = TRANSIENT.includes(error.code) || OUTCOME_UNKNOWN.includes(error.code) || mayHaveArrived;
      if (!canRetry || attempt === MAX_ATTEMPTS || nc.isClosed()) throw mayHaveArrived ? unknown : error;
      await sleep(error.retryAfterMs ?? RETRY_DELAY_MS);
    }
  }
}

/**
 * Finds out the user's role by a dry run for a host that cannot exist. The dry run changes nothing, and the NATS server
 * denies it to viewers at once. Any other outcome, even no reply, means that the server let it through: an operator.
 */
export async function detectRole(nc: NatsConnection): Promise<Role> {
  for (;;) {
    try {
      await sendRequest(nc, TEARDOWN, { host_uuid: crypto.randomUUID(), dry_run: true });
      return 'operator';
    } catch (error) {
      const { code } = error as RequestError;
      if (code === 'denied') return 'viewer';
      if (code !== 'disconnected') return 'operator';
      if (nc.isClosed()) throw error;
      await sleep(RETRY_DELAY_MS);
    }
  }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}
