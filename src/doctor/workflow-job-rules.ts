import type { Facts, MirrorFacts } from './facts.ts';
import type { Finding } from './findings.ts';
import { counted, span } from './words.ts';

/** Workflows and activities that are jobs: those that have not ended, and those whose end nobody reported. */
export function workflowJobFindings({ now, mirror }: Facts): Finding[] {
  if (!mirror) return [];
  return [...running(now, mirror), ...unreported(mirror)];
}

function running(now: number, { workflows: { pending, activities, pendingSince } }: MirrorFacts): Finding[] {
  if (pending === 0) return [];
  const workflows = pending - activities;
  const kinds = [
    ...(workflows > 0 ? [counted(workflows, 'workflow')] : []),
    ...(activities > 0 ? [counted(activities, 'activity', 'activities')] : []),
  ];
  const since = pendingSince === null ? '' : `; the oldest is its job for ${span(now - pendingSince)}`;
  return [
    {
      code: 'WAITING_FOR_WORKFLOWS',
      severity: 'waiting',
      message: `${kinds.join(' and ')} of your own ${pending === 1 ? 'has' : 'have'} not ended${since}.`,
      advice: 'Look at them in the Temporal Web UI; pendingJobs() and the view jobs have their ids.',
      since: pendingSince,
      details: { pending, activities },
    },
  ];
}

/**
 * Whether a worker has the plugin is in no row, and Temporal does not know. But that ends come to the rows late can be
 * seen: then they were found by looking. What else makes them late is said with it.
 */
function unreported({ workflows: { ended, late, lagMs } }: MirrorFacts): Finding[] {
  if (late === 0 || 2 * late < ended) return [];
  const ends =
    ended === 1
      ? 'The last workflow that ended was'
      : `${late === ended ? 'The' : `${late} of the`} last ${ended} workflows that ended were`;
  return [
    {
      code: 'WORKFLOWS_NOT_REPORTED',
      severity: 'waiting',
      message: `${ends} found by looking, up to ${span(lagMs)} after ${late === 1 ? 'its' : 'their'} end.`,
      advice:
        'Give new BatchPlugin() to their workers (plugins), and to the bundle if it is made ahead. ' +
        'With the plugin: the batch was paused or without a worker, or their workers were lost or cannot signal it.',
      since: null,
      details: { ended, late, lagMs },
    },
  ];
}
