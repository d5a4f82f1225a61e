/** Comparisons of real policies, as they were looked over once. The texts themselves are not ours to carry. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { comparePolicies } from '../../src/repo/policies/compare.ts';
import { diffText } from '../../src/repo/policies/diff-text.ts';
import { lint } from '../../src/repo/policies/lint.ts';

const OWN = path.join(import.meta.dirname, 'policies');
const REAL = path.join(import.meta.dirname, '..', '..', '..', 'shared', 'data', 'iam');

const NAMES = {
  app: 'aviatrix-application-iam-policy.json',
  'expanded-1': 'aviatrix-application-iam-policy-expanded-1.json',
  'expanded-2': 'aviatrix-application-iam-policy-expanded-2.json',
  ec2: 'aviatrix-ec2-vm-role-iam-policy.json',
};

/** The first text compared with the second, as `policy diff` shows it. */
function assertDiff(folder: string, [older, newer]: readonly [string, string], golden: string): void {
  const diff = comparePolicies(readFileSync(path.join(folder, older)), readFileSync(path.join(folder, newer)));
  assert.equal(`${diffText(diff)}\n`, readFileSync(path.join(OWN, golden), 'utf8'));
}

for (const [older, newer] of [
  ['gateway-1', 'gateway-2'],
  ['gateway-2', 'gateway-1'],
]) {
  test(`own policies: ${older} → ${newer}`, () => {
    assertDiff(OWN, [`${older}.json`, `${newer}.json`], `${older}..${newer}.txt`);
  });
}

const isThere = existsSync(REAL) ? {} : { skip: 'the vendor’s policies are not on this machine' };
for (const [older, first] of Object.entries(NAMES)) {
  for (const [newer, second] of Object.entries(NAMES)) {
    if (older === newer) continue;
    test(`real policies: ${older} → ${newer}`, isThere, () => {
      assertDiff(REAL, [first, second], `${older}..${newer}.txt`);
    });
  }
}

test('real policies have nothing that AWS would refuse, but for what is to be filled in', isThere, () => {
  const found = Object.entries(NAMES).map(([name, file]) => {
    const { characters, findings } = lint(readFileSync(path.join(REAL, file)));
    return [name, characters, findings.map(({ rule }) => rule)];
  });
  assert.deepEqual(found, [
    ['app', 3994, []],
    ['expanded-1', 4959, ['placeholder']],
    ['expanded-2', 3349, ['placeholder']],
    ['ec2', 226, []],
  ]);
});
