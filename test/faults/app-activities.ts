import type { Ledger } from './ledger.ts';

/** What a workflow of the app calls. */
export interface AppActivities {
  note(act: { readonly batch: string; readonly name: string; readonly runId: string }): Promise<void>;
}

export function createAppActivities(ledger: Ledger): AppActivities {
  return {
    note: async (act) => ledger.write({ what: 'workflow-acted', ...act }),
  };
}
