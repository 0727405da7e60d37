/**
 * What the library does after an error of Postgres.
 *
 * - `wait`: the database cannot serve now. The statement is repeated with growing pauses.
 * - `retry`: Postgres rolled a statement back because of another session. It is repeated at once, with jitter.
 * - `refuse`: the same statement would fail again. The caller gets a typed error.
 */
export type DatabaseAction = 'wait' | 'retry' | 'refuse';

/** How the library treats one SQLSTATE, or all others of a class. */
export interface SqlstateRule {
  /** A class (two characters) or a code (five characters). */
  readonly sqlstate: string;
  readonly action: DatabaseAction;
  /** `schema`: the library's tables are missing or older. `access`: a person has to change settings or grants. */
  readonly reason?: 'schema' | 'access';
  /** The next step, for the person who reads the error. */
  readonly advice: string;
}

const REACHABLE = 'Check that the server runs, and the host and port of the connection string.';
const RESTARTING = 'Check that the server runs and is not kept in recovery.';
const TIMEOUTS =
  'Look in pg_locks for the session that holds the lock, and check the statement, lock and transaction timeouts.';
const LOGIN = 'Check the user and the password of the connection string, and pg_hba.conf.';
const READ_ONLY =
  'The server or the session is read-only. After a failover, check that the connection string leads to the primary; ' +
  'otherwise look at default_transaction_read_only of the role and the database.';
const MIGRATE = 'Run: npx batch-jobs migrate';
const LATER = 'Repeat the call.';

/**
 * The classes of appendix A of the Postgres documentation that do not mean "give up", and the codes that differ from
 * their class. docs/contract.md has the same table, and a test holds the two to each other.
 */
export const SQLSTATE_RULES: readonly SqlstateRule[] = [
  { sqlstate: '08', action: 'wait', advice: REACHABLE },
  { sqlstate: '25006', action: 'wait', advice: READ_ONLY },
  { sqlstate: '25P03', action: 'wait', advice: TIMEOUTS },
  { sqlstate: '25P04', action: 'wait', advice: TIMEOUTS },
  { sqlstate: '28', action: 'refuse', reason: 'access', advice: LOGIN },
  { sqlstate: '3D000', action: 'refuse', reason: 'access', advice: 'Check the database name.' },
  { sqlstate: '3F000', action: 'refuse', reason: 'schema', advice: MIGRATE },
  { sqlstate: '40', action: 'retry', advice: LATER },
  { sqlstate: '40002', action: 'refuse', advice: 'A constraint of a trigger refused the transaction.' },
  {
    sqlstate: '42501',
    action: 'refuse',
    reason: 'access',
    advice: 'Grant the role what docs/operations.md lists for its part.',
  },
  { sqlstate: '42703', action: 'refuse', reason: 'schema', advice: MIGRATE },
  { sqlstate: '42883', action: 'refuse', reason: 'schema', advice: MIGRATE },
  { sqlstate: '42P01', action: 'refuse', reason: 'schema', advice: MIGRATE },
  { sqlstate: '53', action: 'wait', advice: 'Free memory or connections, or raise their limits.' },
  { sqlstate: '53100', action: 'wait', advice: 'The disk of the server is full: free space on it.' },
  {
    sqlstate: '53300',
    action: 'wait',
    advice: 'Lower the pool sizes, raise max_connections, or put a pooler such as PgBouncer in between.',
  },
  { sqlstate: '55006', action: 'wait', advice: TIMEOUTS },
  { sqlstate: '55P03', action: 'wait', advice: TIMEOUTS },
  { sqlstate: '57', action: 'wait', advice: RESTARTING },
  { sqlstate: '57014', action: 'wait', advice: TIMEOUTS },
  {
    sqlstate: '57P04',
    action: 'refuse',
    reason: 'access',
    advice: 'The database was dropped: check its name.',
  },
  { sqlstate: '58', action: 'wait', advice: "Look at the server's log and its disks." },
  { sqlstate: 'XX000', action: 'wait', advice: "Look at the server's log." },
];

/** Everything else: data, constraints, syntax, corruption. */
const OTHERS: Omit<SqlstateRule, 'sqlstate'> = {
  action: 'refuse',
  advice: "Look at `cause` and the server's log.",
};

const RULES = new Map(SQLSTATE_RULES.map((rule) => [rule.sqlstate, rule]));

/** The rule of a SQLSTATE: that of its code, else of its class, else of all others. */
export function ruleOf(sqlstate: string): Omit<SqlstateRule, 'sqlstate'> {
  return RULES.get(sqlstate) ?? RULES.get(sqlstate.slice(0, 2)) ?? OTHERS;
}
