// The names of a table's columns; the last one, of buttons, is read out and not shown.

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
          <span class="unseen">{buttons}</span>
        </span>
      )}
    </div>
  );
}
