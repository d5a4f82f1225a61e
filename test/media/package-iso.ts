/**
 * A vendor of packages in small, with the tools that vendors use: packages from rpmbuild, signed by rpmsign, in
 * package-based images with repodata from createrepo_c. Slow: make one vendor in each test file, and few packages.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Gnupg } from '../repo/openpgp/gnupg.ts';
import { rpmsign } from '../repo/rpm/rpmsign.ts';
import { filler } from './vendor-site.ts';

/** What it takes, for `needs`. */
export const PACKAGE_TOOLS = ['rpmbuild', 'rpmsign', 'gpg', 'createrepo_c', 'xorriso'] as const;

/** A package to be built. */
export interface Recipe {
  readonly name: string;
  readonly version: string;
  /** Default `1.el7`. */
  readonly release?: string;
  readonly epoch?: number;
  /** Default `x86_64`. */
  readonly arch?: string;
  /** Lines of the spec file: `Requires: glibc >= 1.0`. */
  readonly tags?: readonly string[];
  /** Paths of small files, beside `/opt/<name>/data`. */
  readonly files?: readonly string[];
  /** Of the data, which does not compress. Default 4. */
  readonly kilobytes?: number;
  /** Two packages with another one are other bytes. Default: of name, version and release. */
  readonly seed?: string;
}

/** Other metadata of an image's repository. */
export interface Extras {
  /** comps.xml */
  readonly groups?: string;
  readonly updateinfo?: string;
  readonly modules?: string;
}

type Signing = 'vendor' | 'stranger' | 'nobody';

export class PackageVendor implements Disposable {
  readonly dir = mkdtempSync(path.join(tmpdir(), 'airlock-vendor-'));
  /** Armoured, of the key that signs packages. */
  readonly keyFile = path.join(this.dir, 'RPM-GPG-KEY-vendor');
  /** Of a key that the vendor does not have. */
  readonly strangerKeyFile = path.join(this.dir, 'RPM-GPG-KEY-stranger');
  readonly #gpg = new Gnupg();
  readonly #keys: Readonly<Record<'vendor' | 'stranger', string>>;
  #count = 0;

  constructor() {
    this.#keys = { vendor: this.#gpg.makeKey('vendor', 'rsa2048'), stranger: this.#gpg.makeKey('stranger', 'rsa2048') };
    writeFileSync(this.keyFile, this.#gpg.run(['--armor', '--export', this.#keys.vendor]));
    writeFileSync(this.strangerKeyFile, this.#gpg.run(['--armor', '--export', this.#keys.stranger]));
  }

  /** @returns the paths of the packages, in the order of the recipes; each is called as rpm calls it */
  build(recipes: readonly Recipe[], signing: Signing = 'vendor'): string[] {
    const files = new Map<Recipe, string>();
    for (const round of roundsOf(recipes)) {
      for (const [recipe, file] of this.#buildRound(round)) files.set(recipe, file);
    }
    if (signing !== 'nobody') rpmsign(this.#gpg, this.#keys[signing], [...files.values()]);
    return recipes.map((recipe) => files.get(recipe) ?? '');
  }

  /** @returns the path of a folder with copies of the packages */
  folder(packages: readonly string[]): string {
    const dir = this.#newDir('folder');
    for (const file of packages) copyFileSync(file, path.join(dir, path.basename(file)));
    return dir;
  }

  /** @returns the path of an image with these packages; each image lies in a folder of its own */
  iso(name: string, packages: readonly string[], extras: Extras = {}): string {
    const tree = this.#newDir('tree');
    mkdirSync(path.join(tree, 'Packages'));
    for (const file of packages) copyFileSync(file, path.join(tree, 'Packages', path.basename(file)));
    writeFileSync(path.join(tree, '.discinfo'), `${name}\n`);
    writeFileSync(path.join(tree, '.treeinfo'), `[general]\nname = ${name}\n`);
    this.#describe(tree, extras);
    const file = path.join(this.#newDir('iso'), name);
    run('xorriso', ['-as', 'mkisofs', '-quiet', '-R', '-J', '-V', '128T', '-o', file, tree]);
    return file;
  }

  /** Writes repodata. */
  #describe(tree: string, { groups, updateinfo, modules }: Extras): void {
    const comps = path.join(this.dir, 'comps.xml');
    if (groups !== undefined) writeFileSync(comps, groups);
    run('createrepo_c', ['--quiet', '--no-database', ...(groups === undefined ? [] : ['--groupfile', comps]), tree]);
    for (const [type, text] of Object.entries({ updateinfo, modules })) {
      if (text === undefined) continue;
      const file = path.join(this.dir, `${type}.${type === 'modules' ? 'yaml' : 'xml'}`);
      writeFileSync(file, text);
      run('modifyrepo_c', [`--mdtype=${type}`, file, path.join(tree, 'repodata')]);
    }
  }

  #buildRound(recipes: readonly Recipe[]): Map<Recipe, string> {
    const dir = this.#newDir('round');
    const spec = path.join(dir, 'round.spec');
    writeFileSync(
      spec,
      specOf(recipes, (recipe) => this.#contentOf(dir, recipe)),
    );
    const target = recipes.find(({ arch = 'x86_64' }) => arch !== 'noarch')?.arch ?? 'x86_64';
    const macros = {
      _topdir: dir,
      _rpmdir: path.join(dir, 'out'),
      _build_id_links: 'none',
      debug_package: '%{nil}',
      __os_install_post: '%{nil}',
      _binary_payload: 'w2.gzdio',
      _rpmfilename: '%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm',
    };
    const defines = Object.entries(macros).flatMap(([name, value]) => ['--define', `${name} ${value}`]);
    run('rpmbuild', ['--quiet', '--target', `${target}-linux`, ...defines, '-bb', spec], { HOME: dir });
    return new Map(recipes.map((recipe) => [recipe, path.join(dir, 'out', fileName(recipe))]));
  }

  /** @returns a folder that is what the package holds */
  #contentOf(dir: string, recipe: Recipe): string {
    const { name, version, kilobytes = 4, files = [] } = recipe;
    const root = path.join(dir, 'content', name);
    const data = filler(recipe.seed ?? `${name} ${version} ${recipe.release}`, kilobytes * 1024);
    for (const file of [`/opt/${name}/data`, ...files]) {
      mkdirSync(path.dirname(path.join(root, file)), { recursive: true });
      writeFileSync(path.join(root, file), file.endsWith('/data') ? data : `${file}\n`);
    }
    return root;
  }

  #newDir(what: string): string {
    this.#count += 1;
    const dir = path.join(this.dir, `${what}-${this.#count}`);
    mkdirSync(dir);
    return dir;
  }

  [Symbol.dispose](): void {
    this.#gpg[Symbol.dispose]();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** `name-version-release.arch.rpm`: the epoch is left out, as everywhere. */
function fileName({ name, version, release = '1.el7', arch = 'x86_64' }: Recipe): string {
  return `${name}-${version}-${release}.${arch}.rpm`;
}

/** One run of rpmbuild makes any number of packages of different names for one architecture. */
function roundsOf(recipes: readonly Recipe[]): Recipe[][] {
  const rounds: Recipe[][] = [];
  for (const recipe of recipes) {
    const { name, arch = 'x86_64' } = recipe;
    const fits = (other: Recipe) =>
      other.name !== name && (arch === 'noarch' || ['noarch', arch].includes(other.arch ?? 'x86_64'));
    const round = rounds.find((each) => each.every(fits));
    if (round === undefined) rounds.push([recipe]);
    else round.push(recipe);
  }
  return rounds;
}

function specOf(recipes: readonly Recipe[], contentOf: (recipe: Recipe) => string): string {
  const packages = recipes.map((recipe) => {
    const { name, version, release = '1.el7', epoch, arch, tags = [], files = [] } = recipe;
    const root = contentOf(recipe);
    return {
      described: [
        `%package -n ${name}`,
        `Version: ${version}`,
        `Release: ${release}`,
        ...(epoch === undefined ? [] : [`Epoch: ${epoch}`]),
        ...(arch === 'noarch' ? ['BuildArch: noarch'] : []),
        `Summary: ${name} of the vendor`,
        ...tags,
        `%description -n ${name}`,
        `It is <${name}> & nothing else.`,
      ],
      installed: [`cp -a ${root}/. %{buildroot}/`],
      listed: [`%files -n ${name}`, `/opt/${name}`, ...files],
    };
  });
  return [
    ...['Name: round', 'Version: 1', 'Release: 1', 'Summary: Many', 'License: Proprietary', 'AutoReqProv: no'],
    ...['%description', 'Many.'],
    ...packages.flatMap(({ described }) => described),
    '%install',
    'mkdir -p %{buildroot}',
    ...packages.flatMap(({ installed }) => installed),
    ...packages.flatMap(({ listed }) => listed),
    ...['%changelog', '* Mon Sep 09 2024 Release <release@vendor.example> - 1-1', '- Built', ''],
  ].join('\n');
}

function run(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): void {
  execFileSync(command, args, { stdio: 'pipe', env: { ...process.env, LC_ALL: 'C.UTF-8', ...env } });
}
