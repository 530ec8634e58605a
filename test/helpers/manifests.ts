import { type Document, parseAllDocuments } from 'yaml';
import { sourcesUnder } from './source.js';

/** One object of a cluster, or whatever a document holds. */
export type Tree = Record<string, unknown>;

export interface Manifest {
  /** The file, or what rendered it. */
  path: string;
  tree: Tree;
}

/** The value at a path of names and indexes; undefined when there is none. */
export function at(tree: unknown, ...path: (string | number)[]): unknown {
  return path.reduce<unknown>((node, step) => (node !== null && typeof node === 'object' ? (node as Tree)[step] : undefined), tree);
}

/** A list at a path; empty when there is none. */
export function listAt(tree: unknown, ...path: (string | number)[]): Tree[] {
  const found = at(tree, ...path);
  return Array.isArray(found) ? found : [];
}

/** Every document of a text. Throws for one that is not YAML, or names a key twice. */
export function readManifests(text: string, path: string): Manifest[] {
  return parseAllDocuments(text).map((document) => {
    const [error] = (document as Document.Parsed).errors;
    if (error !== undefined) throw new Error(`${path}: ${error.message}`);
    return { path, tree: document.toJS() as Tree };
  });
}

/** Every document under k8s/. */
export function allManifests(): Manifest[] {
  return sourcesUnder('k8s', /\.yaml$/).flatMap(({ path, text }) => readManifests(text, path));
}

export const kindOf = ({ tree }: Manifest): string => String(tree['kind']);
export const nameOf = ({ tree }: Manifest): string => String(at(tree, 'metadata', 'name'));

/** Kustomize's own: they say what becomes of others, and never reach a cluster. */
export function isKustomization(manifest: Manifest): boolean {
  return ['Kustomization', 'Component'].includes(kindOf(manifest));
}

/** A part of an object, laid over the whole one by a kustomization that names its file. */
export function isPatch({ path, tree }: Manifest): boolean {
  return path.startsWith('k8s/components/') && tree['kind'] === 'Deployment';
}

/** What is a whole object of a cluster. */
export function objectsOf(manifests: readonly Manifest[]): Manifest[] {
  return manifests.filter((manifest) => !isKustomization(manifest) && !isPatch(manifest));
}

/** The pod of a workload; undefined for what is none. */
export function podOf({ tree }: Manifest): Tree | undefined {
  return at(tree, 'spec', 'template', 'spec') as Tree | undefined;
}

/** Throws when there is none, or more than one. */
export function only(manifests: readonly Manifest[], kind: string, name: string): Tree {
  const found = manifests.filter((manifest) => kindOf(manifest) === kind && nameOf(manifest) === name);
  if (found.length !== 1 || found[0] === undefined) throw new Error(`there are ${found.length} of ${kind} ${name}`);
  return found[0].tree;
}
