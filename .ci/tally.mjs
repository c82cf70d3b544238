/**
 * Reads vitest's JSON report and prints "PASSED FAILED" on stdout. Whatever did not pass (failed,
 * skipped, a file that did not load) counts as failed and is named on stderr.
 */
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';

const report = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const failures = [];
let passed = 0;

for (const file of report.testResults) {
  const name = relative(process.cwd(), file.name);
  if (file.assertionResults.length === 0) failures.push(`failed: ${name}: ran no test`);
  for (const { status, fullName } of file.assertionResults) {
    if (status === 'passed') passed++;
    else failures.push(`${status === 'failed' ? 'failed' : 'skipped'}: ${name}: ${fullName}`);
  }
}
if (report.testResults.length === 0) failures.push('failed: no test file was run');

for (const line of failures) console.error(line);
console.log(passed, failures.length);
