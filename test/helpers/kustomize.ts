import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Manifest, readManifests } from './manifests.js';
import { cached } from './programs.js';
import { ROOT } from './source.js';

/** Built by `npm run k8s`, which is no part of a suite: it takes a minute or two. */
const BUILT = join(cached('kustomize'), 'kustomize');

/** What renders a folder: on PATH, or built before; undefined when it is neither. */
const renderer: [string, ...string[]] | undefined =
  (
    [
      [['kustomize', 'build'], ['version']],
      [
        ['kubectl', 'kustomize'],
        ['version', '--client'],
      ],
    ] as [[string, ...string[]], string[]][]
  ).find(([[file], probe]) => spawnSync(file, probe).status === 0)?.[0] ?? (existsSync(BUILT) ? [BUILT, 'build'] : undefined);

/** Can anything be rendered here? */
export const canRender = renderer !== undefined;

const rendered = new Map<string, Manifest[]>();

/** Every object of a folder as the cluster would get it. Throws with what was said when it cannot be rendered. */
export function render(folder: string): Manifest[] {
  const found = rendered.get(folder) ?? renderNow(folder);
  rendered.set(folder, found);
  return found;
}

function renderNow(folder: string): Manifest[] {
  if (renderer === undefined) throw new Error('neither kustomize nor kubectl is here: npm run k8s');
  const [file, ...args] = renderer;
  const { status, stdout, stderr } = spawnSync(file, [...args, folder], { cwd: fileURLToPath(ROOT), encoding: 'utf8' });
  if (status !== 0 || stderr !== '') throw new Error(`${folder}: ${stderr}`);
  return readManifests(stdout, `${folder}, rendered`);
}
