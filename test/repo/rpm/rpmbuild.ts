import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import path from 'node:path';

/** Every tag that a repository cares about, as rpmbuild writes it. `%{part}` and the payload's compression vary. */
const SPEC = `
Name: tiny-%{part}
Epoch: 3
Version: 1.2~rc1^git5
Release: 4.el9
Summary: A package of <everything> & more
Summary(de): Ein Paket
License: Apache-2.0
Group: System/Tools
URL: https://vendor.example/?a=b&c
Vendor: Vendor ÄÖ
Packager: Release <release@vendor.example>
AutoReqProv: no
Source0: a.txt
Provides: api = 2:5.0-1, plain, file(x) >= 4
Requires: b, c >= 1.0, d < 2:3-4, e = 1~rc1, f <= 2, g > 7
Requires(pre): /usr/sbin/useradd
Requires(post): post-thing = 5
Requires: (h if i else j)
Recommends: recommended > 1
Suggests: suggested
Supplements: (supplemented and other)
Enhances: enhanced = 1-2
Conflicts: enemy < 5
Obsoletes: tiny-old <= 1.1
%description
Lines, with "quotes" & <angles>,
and ünïcödé.
%package sub
Summary: Another one
Version: 9
BuildArch: noarch
%description sub
Nothing.
%install
mkdir -p %{buildroot}/opt/%{name}/sub %{buildroot}/etc %{buildroot}/var/log
echo a > %{buildroot}/opt/%{name}/a.txt
echo ü > "%{buildroot}/opt/%{name}/ünïcödé and spaces"
ln -s a.txt %{buildroot}/opt/%{name}/link
echo c > %{buildroot}/etc/tiny.conf
touch %{buildroot}/var/log/tiny.log
for i in $(seq 300); do echo $i > %{buildroot}/opt/%{name}/sub/file-$i; done
%post
echo post
%triggerin -- other > 3
echo trigger
%files
%dir /opt/%{name}
/opt/%{name}/*
%config(noreplace) /etc/tiny.conf
%ghost /var/log/tiny.log
%files sub
%changelog
* Mon Sep 09 2024 Release <release@vendor.example> - 1.2-4
- Built <again> & again
- Ünïcödé
* Sun Sep 08 2024 Other <other@vendor.example> - 1.2-3
- Built
`;

/** Makes binary and source packages with four kinds of payload in `dir`. @returns their paths */
export async function buildWithRpm(dir: string): Promise<string[]> {
  mkdirSync(path.join(dir, 'SOURCES'), { recursive: true });
  writeFileSync(path.join(dir, 'SOURCES', 'a.txt'), 'source\n');
  const spec = path.join(dir, 'tiny.spec');
  writeFileSync(spec, SPEC);
  for (const [part, payload] of [
    ['gz', 'w9.gzdio'],
    ['xz', 'w2.xzdio'],
    ['zst', 'w3.zstdio'],
    ['none', 'w.ufdio'],
  ] as const) {
    const define = ([name, value]: [string, string]) => ['--define', `${name} ${value}`];
    const macros: [string, string][] = [
      ...([
        ['_topdir', dir],
        ['_rpmdir', path.join(dir, 'out')],
        ['_srcrpmdir', path.join(dir, 'out')],
      ] as [string, string][]),
      ...([
        ['part', part],
        ['_binary_payload', payload],
        ['_source_payload', payload],
      ] as [string, string][]),
      ...([
        ['_build_id_links', 'none'],
        ['debug_package', '%{nil}'],
        ['__os_install_post', '%{nil}'],
      ] as [string, string][]),
      ['_rpmfilename', '%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm'],
    ];
    const args = ['--quiet', '--target', 'x86_64-linux', ...macros.flatMap(define), '-ba', spec];
    execFileSync('rpmbuild', args, { stdio: 'pipe', env: { ...process.env, HOME: dir, LC_ALL: 'C.UTF-8' } });
  }
  const names = await readdir(path.join(dir, 'out'));
  return names.sort().map((name) => path.join(dir, 'out', name));
}
