/** The command `ringside`. */
import { EXIT, fileError } from './cli/errors.node.ts';
import { runCommandLine } from './cli/program.node.ts';
import { complain } from './cli/session.node.ts';

// Whoever reads what is printed may stop at any time (`| head`); that is no error of the run.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') return;
    if (stream === process.stdout) complain(fileError('standard output', error).message);
    process.exit(EXIT.failed);
  });
}

process.exitCode = await runCommandLine(process.argv.slice(2));
