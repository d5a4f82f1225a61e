import { execFileSync } from 'node:child_process';

/** For `needs`: rpm's own library, as the system's Python sees it. */
export const RPM_PYTHON = '/usr/lib/python3/dist-packages/rpm/__init__.py=python3-rpm';

/**
 * Runs a Python script that has `rpm` and `json`, with `given` as JSON on its standard input.
 * @returns what it prints, as JSON. Text of packages stands there byte by byte, as ISO-8859-1.
 */
export function rpmPython<T>(script: string, given: unknown): T {
  const printed = execFileSync('/usr/bin/python3', ['-c', `import json, os, rpm, sys\n${script}`], {
    input: JSON.stringify(given),
    encoding: 'utf8',
    maxBuffer: 256 * 1024 * 1024,
    env: { ...process.env, LC_ALL: 'C', LANGUAGE: '' },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  return JSON.parse(printed) as T;
}

/** What rpm reads from a package; null if it refuses it. */
export interface RpmSays {
  readonly name: string;
  readonly epoch: number | null;
  readonly version: string;
  readonly release: string;
  readonly arch: string;
  readonly texts: Readonly<Record<string, string | null>>;
  readonly numbers: Readonly<Record<string, number | null>>;
  /** Names, flags, versions. */
  readonly dependencies: Readonly<Record<string, readonly (readonly [string, number, string])[]>>;
  /** Paths, modes, flags. */
  readonly files: readonly (readonly [string, number, number])[];
  readonly changelog: readonly (readonly [number, string, string])[];
  /** Byte where the payload starts. */
  readonly payload: number;
}

const READ = `
def text(value):
    if isinstance(value, str): value = value.encode('utf-8', 'surrogateescape')
    return value.decode('latin-1') if value is not None else None
def read(path):
    fd = os.open(path, os.O_RDONLY)
    try: h = ts.hdrFromFdno(fd)
    except Exception: return None
    finally:
        payload = os.lseek(fd, 0, os.SEEK_CUR)
        os.close(fd)
    texts = ['summary', 'description', 'url', 'license', 'vendor', 'group', 'packager', 'buildhost', 'sourcerpm',
             'payloadformat', 'payloadcompressor', 'payloadflags']
    kinds = ['provide', 'require', 'conflict', 'obsolete', 'recommend', 'suggest', 'supplement', 'enhance']
    rows = lambda *tags: list(zip(*[[text(v) if isinstance(v, (str, bytes)) else v for v in h[t]] for t in tags]))
    return {
        'name': text(h['name']), 'epoch': h[rpm.RPMTAG_EPOCH], 'version': text(h['version']),
        'release': text(h['release']), 'arch': text(h['arch']), 'payload': payload,
        'texts': {t: text(h[t]) for t in texts},
        'numbers': {t: h[t] for t in ['buildtime', 'longsize', 'longarchivesize', 'sourcepackage']},
        'dependencies': {k + 's': rows(k + 'name', k + 'flags', k + 'version') for k in kinds},
        'files': rows('filenames', 'filemodes', 'fileflags'),
        'changelog': rows('changelogtime', 'changelogname', 'changelogtext'),
    }
ts = rpm.TransactionSet()
ts.setVSFlags(-1)
print(json.dumps([read(path) for path in json.load(sys.stdin)]))
`;

/** What rpm's library says of packages, in their order. */
export function rpmSays(paths: readonly string[]): (RpmSays | null)[] {
  return rpmPython(READ, paths);
}

const ACCEPTS = `
def accepts(path):
    fd = os.open(path, os.O_RDONLY)
    try: return ts.hdrFromFdno(fd) is not None
    except Exception: return False
    finally: os.close(fd)
ts = rpm.TransactionSet()
ts.setVSFlags(-1)
print(json.dumps([accepts(path) for path in json.load(sys.stdin)]))
`;

/** Which of the packages rpm's library can read, in their order. Digests are not looked at. */
export function rpmAccepts(paths: readonly string[]): boolean[] {
  return rpmPython(ACCEPTS, paths);
}
