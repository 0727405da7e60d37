import {
  BatchError,
  DatabaseRefusedError,
  DatabaseUnavailableError,
  MigrationsPendingError,
} from '../errors.ts';
import { ruleOf, type SqlstateRule } from './sqlstates.ts';

type Rule = Omit<SqlstateRule, 'sqlstate'>;

const UNREACHABLE: Rule = {
  action: 'wait',
  advice: 'Check that it runs and that the connection settings are right.',
};
const LOGIN: Rule = ruleOf('28000');
const TLS: Rule = {
  action: 'refuse',
  reason: 'access',
  advice: 'Check sslmode and the certificates of the connection.',
};
const POOL: Rule = {
  action: 'wait',
  advice:
    'Either the server does not answer, or all connections of the pool are in use: raise pool.max (poolSize), or ' +
    'release connections that transactions and streams hold.',
};

/** Codes of the operating system, of Node, and of the resolver, for a server that does not answer. */
const UNREACHABLE_SYSTEM = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'ENOENT',
]);

/** What the driver, Knex and its pool say in words only. */
const MESSAGES: readonly (readonly [RegExp, Rule])[] = [
  [/timeout acquiring a connection/i, POOL],
  [
    /no answer within|query read timeout|connection terminated|connection ended|client has encountered a connection error|server closed the connection|not queryable|transaction query already complete|timeout expired/i,
    UNREACHABLE,
  ],
  [/^SASL|password must be a string/, LOGIN],
  [/does not support SSL/i, TLS],
];

/** Five digits and capitals, at least one of them a digit: codes of Node have none. */
function sqlstateIn(code: unknown): string | undefined {
  return typeof code === 'string' && /^(?=.*\d)[0-9A-Z]{5}$/.test(code) ? code : undefined;
}

/** The SQLSTATE of an error of the driver, or of one of ours that it caused; undefined if Postgres did not answer. */
export function sqlstateOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if (error instanceof DatabaseRefusedError || error instanceof DatabaseUnavailableError)
    return error.sqlstate ?? sqlstateOf(error.cause);
  return sqlstateIn((error as { code?: unknown }).code);
}

/** The rule of an error of the driver; undefined if it looks like none. */
function ruleOfRaw(error: Error): Rule | undefined {
  const { code } = error as { code?: unknown };
  const sqlstate = sqlstateIn(code);
  if (sqlstate !== undefined) return ruleOf(sqlstate);
  if (typeof code === 'string') {
    if (UNREACHABLE_SYSTEM.has(code)) return UNREACHABLE;
    if (/CERT|TLS|SSL/.test(code)) return TLS;
  }
  // Node reports a refused connection to a name with several addresses like this.
  if (error instanceof AggregateError) {
    for (const each of error.errors) {
      const rule = each instanceof Error ? ruleOfRaw(each) : undefined;
      if (rule?.action === 'wait') return rule;
    }
  }
  return MESSAGES.find(([pattern]) => pattern.test(error.message))?.[1];
}

/** Whether the database may accept the same statement later, and how soon; undefined: it will not. */
export function passingOf(error: unknown): 'wait' | 'retry' | undefined {
  if (!(error instanceof Error)) return undefined;
  if (error instanceof DatabaseUnavailableError) {
    // Without a cause it is one that somebody else made.
    return (error.cause === undefined ? undefined : passingOf(error.cause)) ?? 'wait';
  }
  if (error instanceof BatchError) return undefined;
  const action = ruleOfRaw(error)?.action;
  return action === 'refuse' ? undefined : action;
}

/** The advice of an error's rule. */
export function adviceOf(error: unknown): string {
  if (error instanceof DatabaseUnavailableError && error.cause !== undefined) return adviceOf(error.cause);
  return ((error instanceof Error ? ruleOfRaw(error) : undefined) ?? UNREACHABLE).advice;
}

/** Reasons as they were before Knex put statements into the messages. */
const REASONS = new WeakMap<Error, string>();

/** What went wrong, in words, with the SQLSTATE and without the statement. Of an error of ours: what caused it. */
export function reasonIn(error: Error): string {
  if (error instanceof DatabaseUnavailableError && error.cause instanceof Error) return reasonIn(error.cause);
  const known = REASONS.get(error);
  if (known !== undefined) return known;
  const parts: unknown[] = error instanceof AggregateError ? error.errors : [];
  const text =
    parts.length > 0
      ? [...new Set(parts.map((part) => (part instanceof Error ? reasonIn(part) : String(part))))].join('; ')
      : error.message || error.name;
  const sqlstate = sqlstateIn((error as { code?: unknown }).code);
  return sqlstate === undefined ? text : `${text} (SQLSTATE ${sqlstate})`;
}

/**
 * Makes an error of ours of what the driver, Knex or its pool threw. `cause` has the original.
 *
 * @param schema that the statement was for
 */
export function toDatabaseError(error: unknown, schema: string): BatchError {
  if (error instanceof BatchError) return error;
  const raw = error instanceof Error ? error : new Error(String(error));
  const options = { cause: error, sqlstate: sqlstateIn((raw as { code?: unknown }).code) };
  if (/^Unable to acquire a connection$|^aborted$/.test(raw.message)) {
    return new BatchError(
      'CLIENT_CLOSED',
      'The pool of database connections is closed: by close() of this client, or by destroy() of its Knex instance. Create another client.',
      { cause: error },
    );
  }
  const rule = ruleOfRaw(raw) ?? ruleOf('');
  const reason = reasonIn(raw);
  REASONS.set(raw, reason);
  if (rule.action !== 'refuse') {
    return new DatabaseUnavailableError(
      'DATABASE_UNAVAILABLE',
      `Postgres cannot ${rule === UNREACHABLE ? 'be reached' : 'serve the statement now'}: ${reason}. ${rule.advice}`,
      options,
    );
  }
  if (rule.reason === 'schema') return new MigrationsPendingError(schema, [], { ...options, reason });
  return new DatabaseRefusedError(
    'DATABASE_REFUSED',
    `Postgres refused ${rule.reason === 'access' ? 'access' : 'a statement of the library'}: ${reason}. ${rule.advice}`,
    options,
  );
}
