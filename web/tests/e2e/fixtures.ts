// What every test of the page has: a swarm, a way to sign in, and two witnesses that nothing leaves this page's own origins and
// that the Content-Security-Policy had nothing to refuse.

import { test as base, expect, type Page } from '@playwright/test';
import { password, Swarm, type User } from './swarm';

interface Fixtures {
  /** Whether people sign in with credentials files, and not with passwords. */
  withCreds: boolean;
  swarm: Swarm;
  /** Opens the page and signs in. */
  enter: (user: User, hash?: string) => Promise<Page>;
  witness: void;
}

export const test = base.extend<Fixtures>({
  withCreds: [false, { option: true }],
  swarm: async ({ withCreds }, use) => {
    const swarm = withCreds ? await Swarm.startWithCreds() : await Swarm.start();
    await use(swarm);
    await swarm.stop();
  },
  enter: async ({ swarm, page }, use) => {
    await use(async (user, hash = '') => {
      await page.goto(`${swarm.page}${hash}`);
      await signIn(page, user, password(user));
      await expect(page.getByText('live', { exact: true })).toBeVisible();
      return page;
    });
  },
  witness: [
    async ({ swarm, page }, use) => {
      const foreign: string[] = [];
      const refused: string[] = [];
      const own = [new URL(swarm.page).origin, swarm.proxy.url];
      const look = (url: string) => {
        if (!own.some((one) => url.startsWith(one)) && !url.startsWith('data:')) foreign.push(url);
      };
      page.on('request', (request) => look(request.url()));
      page.on('websocket', (socket) => look(socket.url()));
      page.on('console', (message) => {
        if (/content security policy/i.test(message.text())) refused.push(message.text());
      });
      page.on('pageerror', (error) => refused.push(`${error.message}\n${error.stack}`));
      await use();
      expect(foreign, 'requests to other origins').toEqual([]);
      expect(refused, 'refusals of the Content-Security-Policy, and errors that nobody caught').toEqual([]);
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
