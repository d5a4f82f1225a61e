/** createrepo_c as the oracle: it makes repositories, and its Python library reads theirs and ours. */
import { execFileSync } from 'node:child_process';

/** For `needs`: createrepo_c's library, as the system's Python sees it. */
export const CREATEREPO_PYTHON = '/usr/lib/python3/dist-packages/createrepo_c/__init__.py=python3-createrepo-c';

/** Makes a repository in `dir` of the packages below it. */
export function createrepo(dir: string, ...options: string[]): void {
  execFileSync('createrepo_c', ['--quiet', '--no-database', '--simple-md-filenames', ...options, dir], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
}

/** Every field of a package, `null` where there is nothing. */
export type PackageFields = Readonly<Record<string, unknown>>;

export interface RepositoryFields {
  /** By `pkgId`, what primary.xml, filelists.xml and other.xml say. */
  readonly packages: Readonly<Record<string, readonly [PackageFields, PackageFields, PackageFields]>>;
  /** In the order of primary.xml. */
  readonly order: readonly string[];
  readonly warnings: readonly string[];
  /** By type. */
  readonly records: Readonly<Record<string, PackageFields>>;
}

const READ = `
import json, sys, createrepo_c as cr
def fields(thing):
    names = [n for n in dir(thing) if not n.startswith('_')]
    values = {n: getattr(thing, n) for n in names}
    return {n: v for n, v in values.items() if v is None or isinstance(v, (str, int, list, tuple))}
def read(dir):
    repomd, packages, order, warnings, found = cr.Repomd(), {}, [], [], {}
    warn = lambda kind, message: warnings.append(message) or True
    cr.xml_parse_repomd(dir + '/repodata/repomd.xml', repomd, warn)
    for record in repomd.records: found[record.type] = record
    def parse(index, parser, path, *more):
        def take(package):
            if index == 0: order.append(package.pkgId)
            packages.setdefault(package.pkgId, [None] * 3)[index] = fields(package)
        parser(path, None, take, warn, *more)
    parse(0, cr.xml_parse_primary, dir + '/' + found['primary'].location_href, 1)
    parse(1, cr.xml_parse_filelists, dir + '/' + found['filelists'].location_href)
    parse(2, cr.xml_parse_other, dir + '/' + found['other'].location_href)
    records = {type: fields(record) for type, record in found.items()}
    return {'packages': packages, 'order': order, 'warnings': warnings, 'records': records}
print(json.dumps([read(dir) for dir in json.load(sys.stdin)]))
`;

/** What createrepo_c's library reads from these repositories. @throws if it cannot */
export function createrepoReads(...dirs: string[]): RepositoryFields[] {
  const printed = execFileSync('/usr/bin/python3', ['-c', READ], {
    input: JSON.stringify(dirs),
    encoding: 'utf8',
    maxBuffer: 256 * 1024 * 1024,
  });
  return JSON.parse(printed) as RepositoryFields[];
}
