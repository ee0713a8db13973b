/** Where messages of graphs find names. */
export { listed, nearest, suggestion } from '../domain/nearest.ts';
