/** SQL for the size of a jsonb value in memory, about. Only one that is compressed has to be read to tell. */
export function jsonBytes(column: string): string {
  return `case when pg_column_compression(${column}) is null then pg_column_size(${column}) else octet_length(${column}::text) end`;
}
