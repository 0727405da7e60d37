import { readFileSync } from 'node:fs';
import { parse } from 'yaml';

export interface Healthcheck {
  readonly test: readonly string[];
  readonly interval: string;
  readonly timeout: string;
  readonly retries: number;
}

export interface Service {
  readonly image: string;
  readonly build?: { readonly context: string; readonly dockerfile: string };
  readonly command?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly environment?: Readonly<Record<string, string>>;
  readonly healthcheck?: Healthcheck;
  readonly ports?: readonly string[];
  readonly profiles?: readonly string[];
  readonly restart?: string;
  readonly stop_grace_period?: string;
  readonly volumes?: readonly string[];
}

export interface ComposeFile {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, unknown>>;
}

/** A file of the repository, as text. */
export function readText(file: string): string {
  return readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');
}

/** docker-compose.yml as Docker understands it: with YAML 1.1's merge keys, and nothing said twice. */
export function readCompose(): ComposeFile {
  return parse(readText('docker-compose.yml'), { merge: true, uniqueKeys: true }) as ComposeFile;
}

/** The services that run for as long as the others do: not those that end, nor those that `up` does not start. */
export function longRunning({ services }: ComposeFile): [name: string, service: Service][] {
  return Object.entries(services).filter(([, { restart }]) => restart !== 'no');
}
