// Which requests are retried and with which key, and how the role is detected from the server's permissions.

import { errors, headers, type Msg, type MsgHdrs, type NatsConnection } from '@nats-io/nats-core';
import { expect, test } from '@playwright/test';
import { detectRole, readHosts, readUserName, RequestError, sendChange, toInboxPrefix } from '../../src/nats/client';

type Reply = object | Error;

/** A connection that returns these replies one after the other, and records the requests. */
function fakeServer(...replies: Reply[]) {
  const requests: { subject: string; body: unknown; key: string }[] = [];
  const request = (subject: string, body: string, options: { headers: MsgHdrs }): Promise<Msg> => {
    requests.push({ subject, body: JSON.parse(body), key: options.headers.get('Nats-Msg-Id') });
    const reply = replies.shift();
    if (reply === undefined) throw new Error('there is no reply left for this request');
    if (reply instanceof Error) return Promise.reject(reply);
    const replyHeaders = headers();
    if ('error' in reply) replyHeaders.set('Nats-Service-Error-Code', '400');
    return Promise.resolve({ headers: replyHeaders, string: () => JSON.stringify(reply) } as unknown as Msg);
  };
  return { nc: { request, isClosed: () => false } as unknown as NatsConnection, requests };
}

const rejection = (code: string, retry_after_ms?: number) => ({
  accepted: false,
  error: { code, message: `because of ${code}`, retry_after_ms },
});
const denied = new errors.PermissionViolationError('denied', 'publish', 'swarm.teardown', undefined, undefined);
const noResponders = new errors.RequestError('no responders', {
  cause: new errors.NoRespondersError('swarm.teardown'),
});

test('a change whose reply is lost is sent again with the same key', async () => {
  const { nc, requests } = fakeServer(new errors.TimeoutError(), { accepted: true });
  expect(await sendChange(nc, 'swarm.teardown', { host_uuid: 'a' })).toEqual({ accepted: true });
  expect(requests).toHaveLength(2);
  expect(requests[1]).toEqual(requests[0]);
  expect(requests[0]!.key).toMatch(/^[0-9a-f-]{36}$/);
});

test('each change has a different key', async () => {
  const { nc, requests } = fakeServer({}, {});
  await sendChange(nc, 'swarm.teardown', { host_uuid: 'a' });
  await sendChange(nc, 'swarm.teardown', { host_uuid: 'a' });
  expect(requests[1]!.key).not.toBe(requests[0]!.key);
});

test('a change is sent again after the delay that an overloaded controller requests', async () => {
  const { nc, requests } = fakeServer(rejection('overloaded', 1), rejection('shutting_down', 1), { accepted: true });
  expect(await sendChange(nc, 'swarm.teardown', {})).toEqual({ accepted: true });
  expect(new Set(requests.map((request) => request.key)).size).toBe(1);
});

test('a user without the permission reads what viewers may not do', async () => {
  for (const [subject, action] of [
    ['swarm.teardown', 'tear down deckies'],
    ['swarm.operations.cancel', 'cancel operations'],
  ] as const) {
    const sent = sendChange(fakeServer(denied).nc, subject, {});
    await expect(sent).rejects.toThrow(`This user may not ${action}: viewers can only watch.`);
  }
});

test('a change that the controller or the server rejects is sent only once', async () => {
  for (const [reply, code] of [
    [rejection('plan_changed'), 'plan_changed'],
    [denied, 'denied'],
    [noResponders, 'no_controller'],
  ] as const) {
    const { nc, requests } = fakeServer(reply);
    const error = await sendChange(nc, 'swarm.teardown', {}).catch((caught: unknown) => caught);
    expect(error, code).toBeInstanceOf(RequestError);
    expect((error as RequestError).code).toBe(code);
    expect(requests, code).toHaveLength(1);
  }
});

test('a change is sent again when no controller responds after a lost reply, because it may have been accepted', async () => {
  const { nc } = fakeServer(new errors.TimeoutError(), noResponders, { accepted: true, repeated: true });
  expect(await sendChange(nc, 'swarm.teardown', {})).toEqual({ accepted: true, repeated: true });
});

test('the role is detected from what the server permits', async () => {
  for (const [reply, role] of [
    [denied, 'viewer'],
    [rejection('host_not_found'), 'operator'],
    [noResponders, 'operator'],
    [new errors.TimeoutError(), 'operator'],
  ] as const) {
    const { nc, requests } = fakeServer(reply);
    expect(await detectRole(nc)).toBe(role);
    expect(requests[0]!.body).toMatchObject({ dry_run: true });
  }
});

test('a user has an inbox prefix if the name fits into a subject', () => {
  expect(toInboxPrefix('alice-1')).toBe('_INBOX.alice-1');
  for (const name of [undefined, '', 'a b', 'a.', '*', '>']) expect(toInboxPrefix(name)).toBeUndefined();
});

test('the name of a user is read from the credentials file', () => {
  const claims = Buffer.from(JSON.stringify({ name: 'alice' })).toString('base64url');
  const creds = `-----BEGIN NATS USER JWT-----\neyJh.${claims}.c2ln\n------END NATS USER JWT------\n`;
  expect(readUserName(creds)).toBe('alice');
  expect(readUserName('nothing')).toBeUndefined();
});

test('the hosts of a limited operator are read from the tags of the credentials', () => {
  const toCreds = (nats: object) => {
    const claims = btoa(JSON.stringify({ name: 'bob', nats })).replaceAll('=', '');
    return { creds: `-----BEGIN NATS USER JWT-----\nheader.${claims}.signature\n------END NATS USER JWT------\n` };
  };
  expect([...readHosts(toCreds({ tags: ['host:Worker-A', 'team:x', 7, 'host:b'] }))]).toEqual(['Worker-A', 'b']);
  expect(readHosts(toCreds({})).size).toBe(0);
  expect(readHosts({ creds: 'nothing' }).size).toBe(0);
  expect(readHosts({ user: 'bob', password: 'p' }).size).toBe(0);
});
