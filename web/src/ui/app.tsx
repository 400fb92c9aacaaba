// The whole page: the sign-in form, or the swarm of the signed-in user.

import { session } from '../state/session';
import { Shell } from './shell';
import { SignIn } from './sign-in';

export function App() {
  const signedIn = session.value;
  return signedIn === undefined ? <SignIn /> : <Shell session={signedIn} />;
}
