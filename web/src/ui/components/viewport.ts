// Whether the window is as narrow as a phone, where rows have a different height.

import { signal } from '@preact/signals';

const query = matchMedia('(max-width: 760px)');

export const isNarrow = signal(query.matches);

query.addEventListener('change', () => (isNarrow.value = query.matches));
