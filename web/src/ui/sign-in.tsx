// The sign-in form: a user and a password, or a credentials file. There is no choice of role, because the server decides it.

import { useSignal } from '@preact/signals';
import { SignInError, type Credentials } from '../nats/client';
import { signedOutReason } from '../state/session';
import { config, loadConfig, signIn } from '../state/sign-in';
import { useEffect, useRef } from 'preact/hooks';
import { Logo } from './components/logo';
import { Notice } from './components/notice';
import { ThemeButton } from './components/theme-button';

export function SignIn() {
  const method = useSignal<'password' | 'creds'>('password');
  const busy = useSignal(false);
  const signInError = useSignal<SignInError | undefined>(undefined);
  const file = useSignal('');
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => {
    loadConfig().catch((error: SignInError) => (signInError.value = error));
  }, []);

  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    busy.value = true;
    signInError.value = undefined;
    try {
      await signIn(await readCredentials(form.current!, method.value));
    } catch (error) {
      signInError.value = toSignInError(error);
    } finally {
      busy.value = false;
    }
  };

  const problem = signInError.value ?? signedOutReason.value;
  return (
    <main class="sign-in">
      <div class="sign-in-theme">
        <ThemeButton />
      </div>
      <form class="card sign-in-card" ref={form} onSubmit={(event) => void submit(event)}>
        <div class="sign-in-head">
          <Logo />
          <h1>Scuttle</h1>
          <p class="muted">Sign in to the swarm’s NATS server.</p>
        </div>
        {problem && <Notice tone="alarm" title={problem.message} text={problem.hint} />}
        <fieldset class="segments">
          <legend class="visually-hidden">Sign-in method</legend>
          {(['password', 'creds'] as const).map((option) => (
            <label key={option} class={method.value === option ? 'segment on' : 'segment'}>
              <input
                type="radio"
                name="method"
                class="visually-hidden"
                checked={method.value === option}
                onChange={() => (method.value = option)}
              />
              {option === 'password' ? 'Password' : 'Credentials file'}
            </label>
          ))}
        </fieldset>
        {method.value === 'password' ? (
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
              <small class="muted">Kept in memory only, and forgotten when you close the page.</small>
            </span>
          </label>
        )}
        <button class="button primary wide" disabled={busy.value}>
          {busy.value ? 'Signing in…' : 'Sign in'}
        </button>
      </form>
      <p class="muted sign-in-foot">
        {config.value === undefined
          ? 'Connecting to the controller…'
          : `${config.value.nats_url} · version ${config.value.version}`}
      </p>
    </main>
  );
}

async function readCredentials(form: HTMLFormElement, method: 'password' | 'creds'): Promise<Credentials> {
  const data = new FormData(form);
  if (method === 'creds') return { creds: await (data.get('creds') as File).text() };
  return { user: String(data.get('user')), password: String(data.get('password')) };
}

function toSignInError(error: unknown): SignInError {
  if (error instanceof SignInError) return error;
  const text = error instanceof Error ? error.message : String(error);
  return new SignInError('Sign-in failed.', text);
}
