// The fixtures of every page test: a swarm, a signed-in page, and two checks: that the page contacts no other origin, and
// that the Content-Security-Policy blocked nothing.

import { test as base, expect, type Page } from '@playwright/test';
import { password, Swarm, type User } from './swarm';

interface Fixtures {
  /** Whether users sign in with credentials files instead of passwords. */
  withCreds: boolean;
  /** Whether the page has the addresses of two NATS servers. */
  withSpare: boolean;
  swarm: Swarm;
  /** Opens the page and signs in. */
  openPage: (user: User, hash?: string) => Promise<Page>;
  originAndPolicyCheck: void;
}

export const test = base.extend<Fixtures>({
  withCreds: [false, { option: true }],
  withSpare: [false, { option: true }],
  swarm: async ({ withCreds, withSpare }, use) => {
    const start = withCreds ? Swarm.startWithCreds : withSpare ? Swarm.startWithSpare : Swarm.start;
    const swarm = await start.call(Swarm);
    await use(swarm);
    await swarm.stop();
  },
  openPage: async ({ swarm, page }, use) => {
    await use(async (user, hash = '') => {
      await page.goto(`${swarm.page}${hash}`);
      await signIn(page, user, password(user));
      await expect(page.getByText('live', { exact: true })).toBeVisible();
      return page;
    });
  },
  originAndPolicyCheck: [
    async ({ swarm, page }, use) => {
      const foreign: string[] = [];
      const violations: string[] = [];
      const own = [new URL(swarm.page).origin, ...swarm.webSocketUrls];
      const checkUrl = (url: string) => {
        if (!own.some((origin) => url.startsWith(origin)) && !url.startsWith('data:')) foreign.push(url);
      };
      page.on('request', (request) => checkUrl(request.url()));
      page.on('websocket', (socket) => checkUrl(socket.url()));
      page.on('console', (message) => {
        if (/content security policy/i.test(message.text())) violations.push(message.text());
      });
      page.on('pageerror', (error) => violations.push(`${error.message}\n${error.stack}`));
      await use();
      expect(foreign, 'requests to other origins').toEqual([]);
      expect(violations, 'violations of the Content-Security-Policy, and uncaught errors').toEqual([]);
    },
    { auto: true },
  ],
});

export async function signIn(page: Page, user: string, secret: string): Promise<void> {
  await page.getByLabel('User').fill(user);
  await page.getByLabel('Password', { exact: true }).last().fill(secret);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

export { expect };
