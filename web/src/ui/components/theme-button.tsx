// The button that switches between the system's theme, light and dark.

import { switchTheme, theme } from '../../state/theme';

export function ThemeButton() {
  return (
    <button
      type="button"
      class={`button quiet icon theme-${theme.value}`}
      aria-label={`Theme: ${theme.value}. Change`}
      title={`Theme: ${theme.value}`}
      onClick={switchTheme}
    >
      <span class="glyph" aria-hidden="true" />
    </button>
  );
}
