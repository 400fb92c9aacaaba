// Mounts the page.

import { render } from 'preact';
import { App } from './ui/app';
import { applyTheme } from './state/theme';

applyTheme();
render(<App />, document.getElementById('page')!);
