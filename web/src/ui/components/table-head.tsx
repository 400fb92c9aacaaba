// The head of a table. The column of buttons has a name for screen readers only.

export function TableHead({ names, buttons }: { names: readonly string[]; buttons?: string }) {
  return (
    <div class="row head" role="row" aria-rowindex={1}>
      {names.map((name) => (
        <span key={name} role="columnheader">
          {name}
        </span>
      ))}
      {buttons !== undefined && (
        <span role="columnheader">
          <span class="visually-hidden">{buttons}</span>
        </span>
      )}
    </div>
  );
}
