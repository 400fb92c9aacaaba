// The page as a whole: signing in, or the swarm.

import { session } from '../session';
import { Shell } from './shell';
import { SignIn } from './sign-in';

export function App() {
  const signedIn = session.value;
  return signedIn === undefined ? <SignIn /> : <Shell session={signedIn} />;
}
