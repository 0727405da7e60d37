/**
 * Which schema the rows of this workflow's batch are in (see src/database/schema-identity.ts). Each activity is told, so
 * that a worker with another database fails it and does not take missing rows for deleted ones.
 *
 * One for a workflow: each has its modules to itself.
 */
let schema: string | undefined;

/** An input that may say which schema it is for; absent: not known. */
export interface ForSchema {
  readonly schema?: string;
}

/** To be called before anything is scheduled. @param ref undefined: not known yet */
export function workFor(ref: string | undefined): void {
  schema = ref;
}

/** The input of an activity or a child workflow, with the schema that it is for. */
export function forSchema<Input extends object>(input: Input): Input & ForSchema {
  return schema === undefined ? input : { ...input, schema };
}
