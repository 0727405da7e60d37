import { progressOf, type BatchProgress } from '../../workflows/batch-state.ts';
import type { Facts } from './facts.ts';
import { verdictOf, type Finding, type Severity } from './findings.ts';
import { digits, quote, span } from './words.ts';

/** A batch with what was found out about it. */
export interface Diagnosis {
  readonly facts: Facts;
  readonly findings: readonly Finding[];
}

/** Details of this name are epoch milliseconds. */
const TIME_NAME = /At$|Since$/;

const SIGNS: Readonly<Record<Severity, string>> = { attention: '✗', waiting: '…', ok: '✓' };

/** The diagnosis as text for people: how the batch stands, then each finding, with advice on request. */
export function describeDiagnosis({ facts, findings }: Diagnosis, options: { advice: boolean }): string {
  const details =
    findings.length === 0 ? '' : `\n${describeFindings(findings, { ...options, now: facts.now })}`;
  return `${heading(facts)}\n${details}`;
}

export function describeFindings(
  findings: readonly Finding[],
  { advice: hasAdvice, now }: { advice: boolean; now: number },
): string {
  const lines = findings.flatMap(({ severity, message, advice, since }) => [
    `  ${SIGNS[severity]} ${message}${since === null ? '' : `   since ${span(now - since)}`}`,
    ...(hasAdvice && advice !== '' ? [`    ${advice}`] : []),
  ]);
  return `${lines.join('\n')}\n`;
}

/** The diagnosis as JSON: names as in the rest of the library, times as ISO texts. */
export function diagnosisJson({ facts, findings }: Diagnosis) {
  const { mirror } = facts;
  return {
    id: facts.batchId,
    verdict: verdictOf(findings),
    ...(mirror === undefined
      ? {}
      : {
          description: mirror.batch.description,
          ...mirror.batch.progress,
          movedAt: isoTime(mirror.movedAt),
        }),
    findings: findingsJson(findings),
  };
}

export function findingsJson(findings: readonly Finding[]) {
  return findings.map(({ since, details, ...finding }) => ({
    ...finding,
    since: isoTime(since),
    details: Object.fromEntries(
      Object.entries(details).map(([name, value]) => [
        name,
        TIME_NAME.test(name) && typeof value === 'number' ? isoTime(value) : value,
      ]),
    ),
  }));
}

function heading(facts: Facts): string {
  const { batchId, mirror, now } = facts;
  const progress = countsFrom(facts);
  const parts = [
    `Batch ${batchId}${mirror ? ` ${quote(mirror.batch.description)}` : ''}`,
    ...(progress ? [progress.status, countsOf(progress)] : []),
    ...(mirror ? [`last moved ${span(now - mirror.movedAt)} ago`] : []),
  ];
  return parts.join('   ');
}

/** The rows' counts, or without rows the batch's own. */
function countsFrom({ mirror, temporal }: Facts): BatchProgress | undefined {
  return mirror?.batch.progress ?? (temporal?.state && progressOf(temporal.state));
}

function countsOf({ total, complete, failed, pending }: BatchProgress): string {
  return `${digits(complete)} of ${digits(total)} complete, ${digits(failed)} failed, ${digits(pending)} pending`;
}

function isoTime(time: number | null): string | null {
  return time === null ? null : new Date(time).toISOString();
}
