// The switch between light, dark, and as the system is.

import { nextTheme, theme } from '../theme';

export function ThemeButton() {
  return (
    <button
      type="button"
      class={`button quiet icon theme-${theme.value}`}
      aria-label={`Colours: ${theme.value}. Change`}
      title={`Colours: ${theme.value}`}
      onClick={nextTheme}
    >
      <span class="sign" aria-hidden="true" />
    </button>
  );
}
