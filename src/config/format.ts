/** Renders diagnostics for people. */
import type { Diagnostic } from '../domain/diagnostic.ts';

/** `file:line:col: error CODE path: message`, below it the line with a caret, and the places in other files that are the cause. */
export const formatDiagnostic = (diagnostic: Diagnostic): string => {
  const { file, line, column, severity, code, path, message, excerpt, related } = diagnostic;
  const place = line === 0 ? file : `${file}:${line}:${column}`;
  const head = `${place}: ${severity} ${code}${path === '' ? '' : ` ${path}`}: ${message}`;
  const lines = [head, ...indented(excerpt)];
  for (const place of related ?? [])
    lines.push(`  ${place.file}:${place.line}:${place.column}: ${place.message}`, ...indented(place.excerpt));
  return lines.join('\n');
};

const indented = (excerpt: string): readonly string[] =>
  excerpt === '' ? [] : excerpt.split('\n').map((shown) => `    ${shown}`);

export const formatDiagnostics = (diagnostics: readonly Diagnostic[]): string => diagnostics.map(formatDiagnostic).join('\n');
