/** A bundle that lacks the batch's workflows, as that of an app's other worker would. */
export async function somethingElse(): Promise<void> {}
