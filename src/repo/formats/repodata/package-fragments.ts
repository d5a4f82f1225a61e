import { limits } from '../../../limits.ts';
import type { Digest } from '../../blobs/blob-store.ts';
import { type Dependency, type DependencyKind, dependenciesOf } from '../rpm/dependencies.ts';
import { type RpmFacts, rpmFacts } from '../rpm/facts.ts';
import { filesOf, type RpmFileEntry } from '../rpm/files.ts';
import { beyondLimit } from '../rpm/rpm-fault.ts';
import type { RpmFile } from '../rpm/rpm-file.ts';
import { listedChangelogs } from './listed-changelogs.ts';
import { type KnownLists, listedDependencies } from './listed-dependencies.ts';
import type { MetadataKind } from './metadata-kinds.ts';
import { packagePath } from './package-path.ts';
import { xmlAttribute, xmlText } from './xml-text.ts';

/** What the three metadata files say of one package: a `<package>` element each, UTF-8, with the line feed behind it. */
export type PackageFragments = Readonly<Record<MetadataKind, Buffer>>;

/** What the header does not know. */
export interface PackageFile {
  /** Of the whole file: what repodata calls `pkgid`. */
  readonly digest: Digest;
  /** Bytes of the whole file. */
  readonly size: number;
}

/** In the order of createrepo_c. */
const ORDER: readonly DependencyKind[] = [
  ...(['provides', 'requires', 'conflicts', 'obsoletes'] as const),
  ...(['suggests', 'enhances', 'recommends', 'supplements'] as const),
];

/**
 * The elements that describe a package in primary.xml, filelists.xml and other.xml. Field by field what createrepo_c
 * writes, but for the file's time, which is the build time: where and when a package was imported must not show, and its
 * path, which is `packagePath`. So they follow from the bytes of the file alone. Control characters are left out.
 * @throws rpm.invalid if the header contradicts itself; rpm.limit if it says more than `limits.rpm` or
 *   `limits.repodata.fragment` allow
 */
export function packageFragments(rpm: RpmFile, file: PackageFile): PackageFragments {
  return describePackage(rpm, file).fragments;
}

/** A package's elements, and what had to be known for them. */
export interface DescribedPackage {
  readonly facts: RpmFacts;
  readonly fragments: PackageFragments;
  readonly provides: readonly Dependency[];
  /** Paths of the files that stand in primary.xml. */
  readonly primaryFiles: ReadonlySet<string>;
}

/** As `packageFragments`, for a caller who wants to know more of the package. */
export function describePackage(rpm: RpmFile, file: PackageFile): DescribedPackage {
  const facts = rpmFacts(rpm);
  const provides = [...dependenciesOf(rpm, 'provides')];
  const filelists = new Fragment(rpm, filelistsHead(facts, file));
  const primaryFiles: RpmFileEntry[] = [];
  for (const entry of filesOf(rpm)) {
    filelists.add(fileElement('  ', entry));
    if (isPrimaryFile(entry.path)) primaryFiles.push(entry);
  }
  const known = { provides, primaryFiles: new Set(primaryFiles.map(({ path }) => path)) };
  const fragments = {
    primary: primary(rpm, facts, file, { ...known, files: primaryFiles }),
    filelists: filelists.end('</package>'),
    other: other(rpm, facts, file),
  };
  return { facts, fragments, ...known };
}

/** Files that others may require by their path without fetching filelists.xml: a rule as old as yum. */
export function isPrimaryFile(path: string): boolean {
  return path.startsWith('/etc/') || path.includes('bin/') || path === '/usr/lib/sendmail';
}

function primary(
  rpm: RpmFile,
  facts: RpmFacts,
  file: PackageFile,
  { files, ...known }: KnownLists & { readonly files: readonly RpmFileEntry[] },
): Buffer {
  const fragment = new Fragment(rpm, '<package type="rpm">');
  for (const line of description(facts, file)) fragment.add(`  ${line}`);
  fragment.add('  <format>');
  for (const line of format(facts)) fragment.add(`    ${line}`);
  for (const kind of ORDER) {
    let isEmpty = true;
    for (const dependency of listedDependencies(rpm, kind, known)) {
      if (isEmpty) fragment.add(`    <rpm:${kind}>`);
      isEmpty = false;
      if (dependency.name !== '') fragment.add(`      ${entryElement(dependency, kind)}`);
    }
    if (!isEmpty) fragment.add(`    </rpm:${kind}>`);
  }
  for (const entry of files) fragment.add(fileElement('    ', entry));
  fragment.add('  </format>');
  return fragment.end('</package>');
}

function description(facts: RpmFacts, { digest, size }: PackageFile): string[] {
  const built = facts.buildTime ?? 0;
  return [
    `<name>${xmlText(facts.name)}</name>`,
    `<arch>${xmlText(facts.arch)}</arch>`,
    versionElement(facts),
    `<checksum type="sha256" pkgid="YES">${hexOf(digest)}</checksum>`,
    element('summary', facts.summary),
    element('description', facts.description),
    element('packager', facts.packager),
    element('url', facts.url),
    `<time file="${built}" build="${built}"/>`,
    `<size package="${size}" installed="${facts.installedSize ?? 0}" archive="${facts.archiveSize ?? 0}"/>`,
    `<location href="${xmlAttribute(packagePath(facts))}"/>`,
  ];
}

function format(facts: RpmFacts): string[] {
  const { start, end } = facts.headerRange;
  return [
    element('rpm:license', facts.license),
    element('rpm:vendor', facts.vendor),
    element('rpm:group', facts.group),
    element('rpm:buildhost', facts.buildHost),
    element('rpm:sourcerpm', facts.sourceRpm),
    `<rpm:header-range start="${start}" end="${end}"/>`,
  ];
}

function filelistsHead(facts: RpmFacts, { digest }: PackageFile): string {
  const [name, arch] = [xmlAttribute(facts.name), xmlAttribute(facts.arch)];
  return `<package pkgid="${hexOf(digest)}" name="${name}" arch="${arch}">\n  ${versionElement(facts)}`;
}

function other(rpm: RpmFile, facts: RpmFacts, file: PackageFile): Buffer {
  const fragment = new Fragment(rpm, filelistsHead(facts, file));
  for (const { time, author, text } of listedChangelogs(rpm)) {
    fragment.add(`  <changelog author="${xmlAttribute(author)}" date="${time}">${xmlText(text)}</changelog>`);
  }
  return fragment.end('</package>');
}

function versionElement({ epoch, version, release }: RpmFacts): string {
  return `<version epoch="${epoch}" ver="${xmlAttribute(version)}" rel="${xmlAttribute(release)}"/>`;
}

/** An absent fact is an empty element. */
function element(name: string, text: string | null): string {
  return text === null || text === '' ? `<${name}/>` : `<${name}>${xmlText(text)}</${name}>`;
}

function fileElement(indent: string, { path, type }: RpmFileEntry): string {
  return `${indent}<file${type === 'file' ? '' : ` type="${type}"`}>${xmlText(path)}</file>`;
}

function entryElement({ name, comparison, evr, pre }: Dependency, kind: DependencyKind): string {
  let attributes = `name="${xmlAttribute(name)}"`;
  if (comparison !== null && evr !== null) {
    attributes += ` flags="${comparison}" epoch="${evr.epoch ?? '0'}"`;
    if (evr.version !== '') attributes += ` ver="${xmlAttribute(evr.version)}"`;
    if (evr.release) attributes += ` rel="${xmlAttribute(evr.release)}"`;
  }
  return `<rpm:entry ${attributes}${kind === 'requires' && pre ? ' pre="1"' : ''}/>`;
}

function hexOf(digest: Digest): string {
  return digest.slice('sha256:'.length);
}

/** Lines of XML, as many as the limit allows: a small header can name very long paths very often. */
class Fragment {
  readonly #rpm: RpmFile;
  #text = '';

  constructor(rpm: RpmFile, head: string) {
    this.#rpm = rpm;
    this.add(head);
  }

  /** @throws rpm.limit */
  add(line: string): void {
    const most = limits.repodata.fragment;
    if (this.#text.length + line.length > most) {
      throw beyondLimit(this.#rpm.header.range.start, `repository metadata of more than ${most} characters`, most);
    }
    this.#text += `${line}\n`;
  }

  end(line: string): Buffer {
    this.add(line);
    return Buffer.from(this.#text);
  }
}
