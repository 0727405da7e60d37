import { InvalidOptionError } from '../errors.ts';

/** Definitions by name. @throws {@link InvalidOptionError} for two of one name, or what is no definition */
export function byName<T extends { readonly name: string }>(
  option: string,
  definitions: readonly T[],
  isDefinition: (value: unknown) => boolean,
  maker: string,
): ReadonlyMap<string, T> {
  if (!Array.isArray(definitions)) throw new InvalidOptionError(option, 'an array', definitions);
  const map = new Map<string, T>();
  for (const [index, definition] of definitions.entries()) {
    if (!isDefinition(definition))
      throw new InvalidOptionError(`${option}[${index}]`, `made by ${maker}`, definition);
    if (map.has(definition.name)) {
      throw new InvalidOptionError(
        option,
        'definitions with different names',
        `two named "${definition.name}"`,
      );
    }
    map.set(definition.name, definition);
  }
  return map;
}
