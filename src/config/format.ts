/** Renders diagnostics for people. */
import type { Diagnostic } from '../domain/diagnostic.ts';

/** `file:line:col: error CODE path: message`, and below it the line with a caret. */
export const formatDiagnostic = (diagnostic: Diagnostic): string => {
  const { file, line, column, severity, code, path, message, excerpt } = diagnostic;
  const place = line === 0 ? file : `${file}:${line}:${column}`;
  const head = `${place}: ${severity} ${code}${path === '' ? '' : ` ${path}`}: ${message}`;
  if (excerpt === '') return head;
  return [head, ...excerpt.split('\n').map((shown) => `    ${shown}`)].join('\n');
};

export const formatDiagnostics = (diagnostics: readonly Diagnostic[]): string => diagnostics.map(formatDiagnostic).join('\n');
