/** A workflow of an app that does nothing: what it takes is what Temporal, and a batch around it, take. */
export async function noopWorkflow(index: number): Promise<number> {
  return index;
}
