// Puts the page into its place.

import { render } from 'preact';
import { App } from './ui/app';
import { applyTheme } from './theme';

applyTheme();
render(<App />, document.getElementById('page')!);
