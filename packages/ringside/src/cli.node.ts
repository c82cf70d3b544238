/** The command `ringside`. */
import { runCommandLine } from './cli/program.node.ts';

/** Whoever reads what is printed may stop at any time (`| head`); that is no error of the run. */
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}

process.exitCode = await runCommandLine(process.argv.slice(2));
