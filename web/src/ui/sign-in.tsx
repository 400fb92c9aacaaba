// Signing in: a user and a password, or a credentials file. The role is not asked for: the server knows it.

import { useSignal } from '@preact/signals';
import { NotSignedIn, type Login } from '../bus';
import { config, loadConfig, signedOut, signIn } from '../session';
import { useEffect, useRef } from 'preact/hooks';
import { Mark } from './mark';
import { Notice } from './notice';
import { ThemeButton } from './theme-button';

export function SignIn() {
  const way = useSignal<'password' | 'creds'>('password');
  const busy = useSignal(false);
  const trouble = useSignal<NotSignedIn | undefined>(undefined);
  const file = useSignal('');
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => {
    loadConfig().catch((error: NotSignedIn) => (trouble.value = error));
  }, []);

  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    busy.value = true;
    trouble.value = undefined;
    try {
      await signIn(await login(form.current!, way.value));
    } catch (error) {
      trouble.value = asNotSignedIn(error);
    } finally {
      busy.value = false;
    }
  };

  const problem = trouble.value ?? signedOut.value;
  return (
    <main class="sign-in">
      <div class="sign-in-theme">
        <ThemeButton />
      </div>
      <form class="card sign-in-card" ref={form} onSubmit={(event) => void submit(event)}>
        <div class="sign-in-head">
          <Mark />
          <h1>Scuttle</h1>
          <p class="muted">Sign in to the swarm’s NATS server.</p>
        </div>
        {problem && <Notice look="alarm" title={problem.message} text={problem.hint} />}
        <fieldset class="segments">
          <legend class="unseen">How to sign in</legend>
          {(['password', 'creds'] as const).map((one) => (
            <label key={one} class={way.value === one ? 'segment on' : 'segment'}>
              <input
                type="radio"
                name="way"
                class="unseen"
                checked={way.value === one}
                onChange={() => (way.value = one)}
              />
              {one === 'password' ? 'Password' : 'Credentials file'}
            </label>
          ))}
        </fieldset>
        {way.value === 'password' ? (
          <>
            <label class="field">
              <span>User</span>
              <input name="user" autocomplete="username" autocapitalize="none" spellcheck={false} required />
            </label>
            <label class="field">
              <span>Password</span>
              <input name="password" type="password" autocomplete="current-password" required />
            </label>
          </>
        ) : (
          <label class="field">
            <span>Credentials file</span>
            <span class={file.value === '' ? 'drop' : 'drop chosen'}>
              <input
                name="creds"
                type="file"
                accept=".creds"
                required
                onChange={(event) => (file.value = event.currentTarget.files?.[0]?.name ?? '')}
              />
              <strong>{file.value === '' ? 'Choose a .creds file, or drop it here' : file.value}</strong>
              <small class="muted">It stays in this page’s memory, and is gone when the page is closed.</small>
            </span>
          </label>
        )}
        <button class="button primary wide" disabled={busy.value}>
          {busy.value ? 'Signing in…' : 'Sign in'}
        </button>
      </form>
      <p class="muted sign-in-foot">
        {config.value === undefined
          ? 'Looking for the controller…'
          : `${config.value.nats_url} · version ${config.value.version}`}
      </p>
    </main>
  );
}

async function login(form: HTMLFormElement, way: 'password' | 'creds'): Promise<Login> {
  const data = new FormData(form);
  if (way === 'creds') return { creds: await (data.get('creds') as File).text() };
  return { user: String(data.get('user')), password: String(data.get('password')) };
}

function asNotSignedIn(error: unknown): NotSignedIn {
  if (error instanceof NotSignedIn) return error;
  const text = error instanceof Error ? error.message : String(error);
  return new NotSignedIn('Signing in did not work.', text);
}
