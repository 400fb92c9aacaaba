// Signing in: loads the page's configuration, connects, detects the role and starts the session.

import { batch, signal } from '@preact/signals';
import {
  connect,
  detectRole,
  readHosts,
  readUserName,
  SignInError,
  type Config,
  type Credentials,
} from '../nats/client';
import { clearEvents } from './event-feed';
import { clearRequests } from './requests';
import { Session, session, signedOutReason } from './session';

export const config = signal<Config | undefined>(undefined);

export async function signIn(credentials: Credentials): Promise<void> {
  const { nats_url } = await loadConfig();
  const nc = await connect(nats_url.split(','), credentials);
  try {
    const role = await detectRole(nc);
    const user = 'creds' in credentials ? (readUserName(credentials.creds) ?? 'signed in') : credentials.user;
    batch(() => {
      signedOutReason.value = undefined;
      clearRequests();
      clearEvents();
      session.value = new Session(nc, user, role, readHosts(credentials));
    });
  } catch (error) {
    await nc.close();
    throw error;
  }
}

export async function loadConfig(): Promise<Config> {
  if (config.value !== undefined) return config.value;
  try {
    const response = await fetch('config.json', { cache: 'no-store' });
    if (!response.ok) throw new Error(`${response.status}`);
    config.value = (await response.json()) as Config;
    return config.value;
  } catch {
    throw new SignInError(
      'The controller that serves this page does not respond.',
      'Check that it is running, then try again. You do not need to reload the page.',
    );
  }
}
