// The logo: a sinking hull.

export function Logo() {
  return (
    <svg class="logo" viewBox="0 0 32 32" aria-hidden="true">
      <path class="logo-hull" d="M5 12h22l-3 7a3.4 3.4 0 0 1-3.1 2H11.1A3.4 3.4 0 0 1 8 19z" />
      <path class="logo-sail" d="M16 2v10M16 3l7 6h-7" />
      <path class="logo-sea" d="M2 26q3.5-3.2 7 0t7 0 7 0 7 0" />
    </svg>
  );
}
