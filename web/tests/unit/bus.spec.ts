// What is asked for again, and with which key; and what a refusal says of the user's role.

import { errors, headers, type Msg, type MsgHdrs, type NatsConnection } from '@nats-io/nats-core';
import { expect, test } from '@playwright/test';
import { change, Refused, roleOf } from '../../src/bus';

type Answer = object | Error;

/** A connection that gives these answers, one after the other, and keeps what it was asked. */
function server(...answers: Answer[]) {
  const asked: { subject: string; body: unknown; key: string }[] = [];
  const request = (subject: string, body: string, options: { headers: MsgHdrs }): Promise<Msg> => {
    asked.push({ subject, body: JSON.parse(body), key: options.headers.get('Nats-Msg-Id') });
    const answer = answers.shift();
    if (answer === undefined) throw new Error('asked once too often');
    if (answer instanceof Error) return Promise.reject(answer);
    const told = headers();
    if ('error' in answer) told.set('Nats-Service-Error-Code', '400');
    return Promise.resolve({ headers: told, json: () => answer } as unknown as Msg);
  };
  return { nc: { request, isClosed: () => false } as unknown as NatsConnection, asked };
}

const refusal = (code: string, retry_after_ms?: number) => ({
  accepted: false,
  error: { code, message: `because of ${code}`, retry_after_ms },
});
const denied = new errors.PermissionViolationError('denied', 'publish', 'swarm.teardown', undefined, undefined);
const absent = new errors.RequestError('no responders', { cause: new errors.NoRespondersError('swarm.teardown') });

test('a change whose answer is lost is asked for again with the same key', async () => {
  const { nc, asked } = server(new errors.TimeoutError(), { accepted: true });
  expect(await change(nc, 'swarm.teardown', { host_uuid: 'a' })).toEqual({ accepted: true });
  expect(asked).toHaveLength(2);
  expect(asked[1]).toEqual(asked[0]);
  expect(asked[0]!.key).toMatch(/^[0-9a-f-]{36}$/);
});

test('each change has a key of its own', async () => {
  const { nc, asked } = server({}, {});
  await change(nc, 'swarm.teardown', { host_uuid: 'a' });
  await change(nc, 'swarm.teardown', { host_uuid: 'a' });
  expect(asked[1]!.key).not.toBe(asked[0]!.key);
});

test('an overloaded controller is asked again, when it says', async () => {
  const { nc, asked } = server(refusal('overloaded', 1), refusal('shutting_down', 1), { accepted: true });
  expect(await change(nc, 'swarm.teardown', {})).toEqual({ accepted: true });
  expect(new Set(asked.map((one) => one.key)).size).toBe(1);
});

test('what the controller or the server refuses is asked for once', async () => {
  for (const [answer, code] of [
    [refusal('plan_changed'), 'plan_changed'],
    [denied, 'denied'],
    [absent, 'no_controller'],
  ] as const) {
    const { nc, asked } = server(answer);
    const refused = await change(nc, 'swarm.teardown', {}).catch((error: unknown) => error);
    expect(refused, code).toBeInstanceOf(Refused);
    expect((refused as Refused).code).toBe(code);
    expect(asked, code).toHaveLength(1);
  }
});

test('that nobody answers any more does not mean that nothing was accepted', async () => {
  const { nc } = server(new errors.TimeoutError(), absent, { accepted: true, repeated: true });
  expect(await change(nc, 'swarm.teardown', {})).toEqual({ accepted: true, repeated: true });
});

test('the role is what the server permits', async () => {
  for (const [answer, role] of [
    [denied, 'viewer'],
    [refusal('host_not_found'), 'operator'],
    [absent, 'operator'],
    [new errors.TimeoutError(), 'operator'],
  ] as const) {
    const { nc, asked } = server(answer);
    expect(await roleOf(nc)).toBe(role);
    expect(asked[0]!.body).toMatchObject({ dry_run: true });
  }
});
