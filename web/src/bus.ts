// The connection to the NATS server: signing in, asking, and what may go wrong with both, in words.

import {
  credsAuthenticator,
  errors,
  headers,
  usernamePasswordAuthenticator,
  wsconnect,
  type Msg,
  type NatsConnection,
} from '@nats-io/nats-core';
import type { ErrorCode, RefusalMessage } from './wire';
import { TEARDOWN } from './subjects';

/** Who signs in: kept in memory alone, for as long as the page is open. */
export type Login = { user: string; password: string } | { creds: string };

export type Role = 'operator' | 'viewer';

/** Where the page connects to, as the controller tells it. */
export interface Config {
  nats_url: string;
  version: string;
}

/** Why a request came to nothing: what the controller says, or that the server denies it, nobody answers, or an answer is lost. */
export type Cause = ErrorCode | 'denied' | 'no_controller' | 'no_answer' | 'disconnected';

export class Refused extends Error {
  readonly code: Cause;
  readonly retryAfterMs: number | undefined;

  constructor(code: Cause, message: string, retryAfterMs?: number) {
    super(message);
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }
}

/** Why nobody is signed in. */
export class NotSignedIn extends Error {
  readonly hint: string;

  constructor(message: string, hint: string) {
    super(message);
    this.hint = hint;
  }
}

/** How long an answer may take before the request is repeated. */
const PATIENCE_MS = 5_000;
/** How often a change is asked for, with the same key, before it is given up. */
const TRIES = 12;
const PAUSE_MS = 1_000;

/** What passes by itself: the same request, asked again, does no harm. */
const PASSING: readonly Cause[] = ['overloaded', 'shutting_down', 'not_leader'];
/** What leaves it open whether the request has arrived. */
const UNKNOWN: readonly Cause[] = ['no_answer', 'disconnected'];

/** What a credentials file has: who one is, signed, and the key that shows it. */
const CREDS = /BEGIN NATS USER JWT-+[\s\S]+BEGIN USER NKEY SEED-+/;

export async function connect(url: string, login: Login): Promise<NatsConnection> {
  if ('creds' in login && !CREDS.test(login.creds)) {
    throw new NotSignedIn(
      'This file is not a credentials file.',
      'Choose the .creds file that `scuttle init` or `scuttle user add` wrote for you.',
    );
  }
  const authenticator =
    'creds' in login
      ? credsAuthenticator(new TextEncoder().encode(login.creds))
      : usernamePasswordAuthenticator(login.user, login.password);
  try {
    return await wsconnect({
      servers: url,
      authenticator,
      name: 'scuttle page',
      maxReconnectAttempts: -1,
      // Nobody but the server that the controller names is contacted.
      ignoreClusterUpdates: true,
      pingInterval: 10_000,
      timeout: 8_000,
    });
  } catch (error) {
    throw explain(error, url, login);
  }
}

function explain(error: unknown, url: string, login: Login): NotSignedIn {
  const text = error instanceof Error ? error.message : String(error);
  if (error instanceof errors.AuthorizationError || /authorization|authentication/i.test(text)) {
    return 'creds' in login
      ? new NotSignedIn(
          'The NATS server does not take these credentials.',
          'They may have been revoked, or be of another server. An administrator issues new ones with `scuttle user add`.',
        )
      : new NotSignedIn(
          `The NATS server does not know the user “${login.user}” with this password.`,
          'Check both. Names and passwords are those of the NATS server, not of your computer.',
        );
  }
  return new NotSignedIn(
    `No NATS server answers at ${url}.`,
    'Check that it runs, and that its WebSocket listener is the one in the controller’s --web-nats-url.',
  );
}

/** Asks once. */
export async function ask<A>(nc: NatsConnection, subject: string, request: object, key?: string): Promise<A> {
  let answer: Msg;
  try {
    const keyed = headers();
    if (key !== undefined) keyed.set('Nats-Msg-Id', key);
    answer = await nc.request(subject, JSON.stringify(request), { timeout: PATIENCE_MS, headers: keyed });
  } catch (error) {
    throw unanswered(error, subject);
  }
  const body = answer.json<A | RefusalMessage>();
  if (answer.headers?.get('Nats-Service-Error-Code')) {
    const { code, message, retry_after_ms } = (body as RefusalMessage).error;
    throw new Refused(code, message, retry_after_ms ?? undefined);
  }
  return body as A;
}

function unanswered(error: unknown, subject: string): Refused {
  // The client wraps some of them, and not others.
  const chain = [error, (error as { cause?: unknown }).cause];
  const is = (kind: new (...args: never[]) => Error) => chain.some((one) => one instanceof kind);
  if (is(errors.PermissionViolationError)) {
    return new Refused('denied', `The NATS server does not let this user ask ${subject}.`);
  }
  if (is(errors.NoRespondersError)) {
    return new Refused('no_controller', 'No controller answers. Nothing was changed; ask again when one is back.');
  }
  if (is(errors.TimeoutError)) {
    return new Refused('no_answer', 'No answer came, so it is not known whether this was accepted.');
  }
  return new Refused(
    'disconnected',
    'The connection was lost before an answer came, so it is not known whether this was accepted.',
  );
}

/**
 * Asks for a change until there is an answer, each time with the same key, so that it is made once however often it is asked
 * for.
 */
export async function change<A>(nc: NatsConnection, subject: string, request: object): Promise<A> {
  const key = crypto.randomUUID();
  let unknown: Refused | undefined;
  for (let tried = 1; ; tried += 1) {
    try {
      return await ask<A>(nc, subject, request, key);
    } catch (error) {
      const refused = error as Refused;
      if (UNKNOWN.includes(refused.code)) unknown = refused;
      // A request that may have arrived is asked about until somebody knows; when nobody does, that is what is said.
      const nobody = refused.code === 'no_controller' && unknown !== undefined;
      const passing = PASSING.includes(refused.code) || UNKNOWN.includes(refused.code) || nobody;
      if (!passing || tried === TRIES || nc.isClosed()) throw nobody ? unknown : refused;
      await pause(refused.retryAfterMs ?? PAUSE_MS);
    }
  }
}

/**
 * What the server lets this user do. A dry run for a host that cannot be there changes nothing, and the server denies it to
 * viewers at once; whatever else comes of it, an answer or none, it went through.
 */
export async function roleOf(nc: NatsConnection): Promise<Role> {
  for (;;) {
    try {
      await ask(nc, TEARDOWN, { host_uuid: crypto.randomUUID(), dry_run: true });
      return 'operator';
    } catch (error) {
      const { code } = error as Refused;
      if (code === 'denied') return 'viewer';
      if (code !== 'disconnected') return 'operator';
      if (nc.isClosed()) throw error;
      await pause(PAUSE_MS);
    }
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}
